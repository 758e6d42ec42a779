// Comparisons of sixteen lanes, as bits.
#pragma once

#include "simd.hpp"

namespace headlong::HEADLONG_ISA {

// Bit i: not a[i] <= b[i].  A NaN in either is above everything.
#if defined(__AVX512F__)
static inline uint32_t above(f32x16 a, f32x16 b) {
  return _mm512_cmp_ps_mask(a.v, b.v, _CMP_NLE_UQ);
}
#elif defined(__AVX2__)
static inline uint32_t above(f32x16 a, f32x16 b) {
  return uint32_t(_mm256_movemask_ps(_mm256_cmp_ps(a.lo, b.lo, _CMP_NLE_UQ))) |
         uint32_t(_mm256_movemask_ps(_mm256_cmp_ps(a.hi, b.hi, _CMP_NLE_UQ))) << 8;
}
#else
static inline uint32_t above(const f32x16& a, const f32x16& b) {
  uint32_t bits = 0;
  for (int i = 0; i < 16; ++i) bits |= uint32_t(!(a.v[i] <= b.v[i])) << i;
  return bits;
}
#endif

}  // namespace headlong::HEADLONG_ISA
