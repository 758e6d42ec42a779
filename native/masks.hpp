// Sixteen float lanes as bits: comparisons, and floats made from integers.
#pragma once

#include "simd.hpp"

namespace headlong::HEADLONG_ISA {

// Bit i: not a[i] <= b[i].  A NaN in either is above everything.
//
// keep_where: b where a >= least, 0 elsewhere.
// float_of_bits: the float whose bits are the integer nearest to a, |a| < 2^31.
#if defined(__AVX512F__)
static inline uint32_t above(f32x16 a, f32x16 b) {
  return _mm512_cmp_ps_mask(a.v, b.v, _CMP_NLE_UQ);
}
static inline f32x16 keep_where(f32x16 a, f32x16 least, f32x16 b) {
  return {_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a.v, least.v, _CMP_GE_OQ), b.v)};
}
static inline f32x16 float_of_bits(f32x16 a) {
  return {_mm512_castsi512_ps(_mm512_cvtps_epi32(a.v))};
}
#elif defined(__AVX2__)
static inline uint32_t above(f32x16 a, f32x16 b) {
  return uint32_t(_mm256_movemask_ps(_mm256_cmp_ps(a.lo, b.lo, _CMP_NLE_UQ))) |
         uint32_t(_mm256_movemask_ps(_mm256_cmp_ps(a.hi, b.hi, _CMP_NLE_UQ))) << 8;
}
static inline f32x16 keep_where(f32x16 a, f32x16 least, f32x16 b) {
  return {_mm256_and_ps(_mm256_cmp_ps(a.lo, least.lo, _CMP_GE_OQ), b.lo),
          _mm256_and_ps(_mm256_cmp_ps(a.hi, least.hi, _CMP_GE_OQ), b.hi)};
}
static inline f32x16 float_of_bits(f32x16 a) {
  return {_mm256_castsi256_ps(_mm256_cvtps_epi32(a.lo)),
          _mm256_castsi256_ps(_mm256_cvtps_epi32(a.hi))};
}
#else
static inline f32x16 keep_where(const f32x16& a, const f32x16& least, f32x16 b) {
  for (int i = 0; i < 16; ++i) b.v[i] = a.v[i] >= least.v[i] ? b.v[i] : 0.0f;
  return b;
}
static inline f32x16 float_of_bits(const f32x16& a) {
  f32x16 r;
  for (int i = 0; i < 16; ++i) {
    const int32_t bits = int32_t(a.v[i]);  // one below the nearest at times
    std::memcpy(&r.v[i], &bits, 4);
  }
  return r;
}
static inline uint32_t above(const f32x16& a, const f32x16& b) {
  uint32_t bits = 0;
  for (int i = 0; i < 16; ++i) bits |= uint32_t(!(a.v[i] <= b.v[i])) << i;
  return bits;
}
#endif

}  // namespace headlong::HEADLONG_ISA
