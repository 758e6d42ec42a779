// Sixteen float lanes for every instruction set: one zmm, two ymm, or an array that the compiler
// vectorises.  Sixteen because a packed weight tile holds sixteen rows side by side, so a lane is a
// row and no kernel needs a horizontal sum in its inner loop.
//
// fma() is fused wherever the instruction set has it; AVX2 and AVX-512 therefore give equal bits.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

#ifndef HEADLONG_ISA
#error "kernel sources are compiled with HEADLONG_ISA set to the namespace of an instruction set"
#endif

namespace headlong::HEADLONG_ISA {

#if defined(__AVX512F__)

struct f32x16 {
  __m512 v;
};
static inline f32x16 zero() { return {_mm512_setzero_ps()}; }
static inline f32x16 splat(float x) { return {_mm512_set1_ps(x)}; }
static inline f32x16 load(const float* p) { return {_mm512_loadu_ps(p)}; }
static inline void store(float* p, f32x16 a) { _mm512_storeu_ps(p, a.v); }
static inline f32x16 add(f32x16 a, f32x16 b) { return {_mm512_add_ps(a.v, b.v)}; }
static inline f32x16 sub(f32x16 a, f32x16 b) { return {_mm512_sub_ps(a.v, b.v)}; }
static inline f32x16 mul(f32x16 a, f32x16 b) { return {_mm512_mul_ps(a.v, b.v)}; }
static inline f32x16 div(f32x16 a, f32x16 b) { return {_mm512_div_ps(a.v, b.v)}; }
static inline f32x16 fma(f32x16 a, f32x16 b, f32x16 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
static inline f32x16 max(f32x16 a, f32x16 b) { return {_mm512_max_ps(a.v, b.v)}; }
static inline f32x16 min(f32x16 a, f32x16 b) { return {_mm512_min_ps(a.v, b.v)}; }
static inline f32x16 abs(f32x16 a) { return {_mm512_abs_ps(a.v)}; }
static inline f32x16 load_f16(const uint16_t* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
static inline f32x16 splat_f16(const uint16_t* p) {
  return {_mm512_cvtph_ps(_mm256_set1_epi16(int16_t(*p)))};
}
static inline void store_f16(uint16_t* p, f32x16 a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
static inline f32x16 load_bf16(const uint16_t* p) {
  __m512i w = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(w, 16))};
}
static inline f32x16 load_i8(const int8_t* p) {
  return {_mm512_cvtepi32_ps(
      _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))};
}
// to[j] = p[j], p[4 + j], ..., p[60 + j]
static inline void load_by_four(f32x16* to, const float* p) {
  const __m512i even = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 1, 5, 9, 13, 17, 21, 25, 29);
  const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(2));
  const __m512 a = _mm512_loadu_ps(p), b = _mm512_loadu_ps(p + 16);
  const __m512 c = _mm512_loadu_ps(p + 32), d = _mm512_loadu_ps(p + 48);
  const __m512 ab01 = _mm512_permutex2var_ps(a, even, b), cd01 = _mm512_permutex2var_ps(c, even, d);
  const __m512 ab23 = _mm512_permutex2var_ps(a, odd, b), cd23 = _mm512_permutex2var_ps(c, odd, d);
  to[0].v = _mm512_shuffle_f32x4(ab01, cd01, 0x44);
  to[1].v = _mm512_shuffle_f32x4(ab01, cd01, 0xee);
  to[2].v = _mm512_shuffle_f32x4(ab23, cd23, 0x44);
  to[3].v = _mm512_shuffle_f32x4(ab23, cd23, 0xee);
}
// round to nearest even
static inline f32x16 round(f32x16 a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
// 2^n for integral n in [-126, 127]
static inline f32x16 exp2_int(f32x16 n) {
  __m512i e = _mm512_add_epi32(_mm512_cvtps_epi32(n.v), _mm512_set1_epi32(127));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(e, 23))};
}

#elif defined(__AVX2__)

struct f32x16 {
  __m256 lo, hi;
};
static inline f32x16 zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
static inline f32x16 splat(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
static inline f32x16 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
static inline void store(float* p, f32x16 a) {
  _mm256_storeu_ps(p, a.lo);
  _mm256_storeu_ps(p + 8, a.hi);
}
static inline f32x16 add(f32x16 a, f32x16 b) {
  return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)};
}
static inline f32x16 sub(f32x16 a, f32x16 b) {
  return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)};
}
static inline f32x16 mul(f32x16 a, f32x16 b) {
  return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)};
}
static inline f32x16 div(f32x16 a, f32x16 b) {
  return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)};
}
static inline f32x16 fma(f32x16 a, f32x16 b, f32x16 c) {
  return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
static inline f32x16 max(f32x16 a, f32x16 b) {
  return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)};
}
static inline f32x16 min(f32x16 a, f32x16 b) {
  return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)};
}
static inline f32x16 abs(f32x16 a) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_andnot_ps(sign, a.lo), _mm256_andnot_ps(sign, a.hi)};
}
static inline f32x16 load_f16(const uint16_t* p) {
  return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))),
          _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8)))};
}
static inline f32x16 splat_f16(const uint16_t* p) {
  const __m256 x = _mm256_cvtph_ps(_mm_set1_epi16(int16_t(*p)));
  return {x, x};
}
static inline void store_f16(uint16_t* p, f32x16 a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                   _mm256_cvtps_ph(a.lo, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8),
                   _mm256_cvtps_ph(a.hi, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
static inline __m256 widen_bf16(__m128i w) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(w), 16));
}
static inline f32x16 load_bf16(const uint16_t* p) {
  return {widen_bf16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))),
          widen_bf16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8)))};
}
static inline f32x16 load_i8(const int8_t* p) {
  __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(b)),
          _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(b, 8)))};
}
static inline __m256 load_two(const float* p, const float* q) {
  return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), _mm_loadu_ps(q), 1);
}
static inline void load_by_four_half(__m256* to, const float* p) {
  const __m256 a = load_two(p, p + 16), b = load_two(p + 4, p + 20);
  const __m256 c = load_two(p + 8, p + 24), d = load_two(p + 12, p + 28);
  const __m256 ab01 = _mm256_unpacklo_ps(a, b), cd01 = _mm256_unpacklo_ps(c, d);
  const __m256 ab23 = _mm256_unpackhi_ps(a, b), cd23 = _mm256_unpackhi_ps(c, d);
  to[0] = _mm256_shuffle_ps(ab01, cd01, 0x44);
  to[1] = _mm256_shuffle_ps(ab01, cd01, 0xee);
  to[2] = _mm256_shuffle_ps(ab23, cd23, 0x44);
  to[3] = _mm256_shuffle_ps(ab23, cd23, 0xee);
}
static inline void load_by_four(f32x16* to, const float* p) {
  __m256 lo[4], hi[4];
  load_by_four_half(lo, p);
  load_by_four_half(hi, p + 32);
  for (int j = 0; j < 4; ++j) to[j] = {lo[j], hi[j]};
}
static inline f32x16 round(f32x16 a) {
  return {_mm256_round_ps(a.lo, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
          _mm256_round_ps(a.hi, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
static inline __m256 exp2_int_half(__m256 n) {
  __m256i e = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return _mm256_castsi256_ps(_mm256_slli_epi32(e, 23));
}
static inline f32x16 exp2_int(f32x16 n) { return {exp2_int_half(n.lo), exp2_int_half(n.hi)}; }

#else  // any compiler, any machine

struct f32x16 {
  float v[16];
};
#define HEADLONG_LANES for (int i = 0; i < 16; ++i)
static inline f32x16 splat(float x) {
  f32x16 r;
  HEADLONG_LANES r.v[i] = x;
  return r;
}
static inline f32x16 zero() { return splat(0.0f); }
static inline f32x16 load(const float* p) {
  f32x16 r;
  std::memcpy(r.v, p, sizeof r.v);
  return r;
}
static inline void store(float* p, const f32x16& a) { std::memcpy(p, a.v, sizeof a.v); }
static inline f32x16 add(f32x16 a, const f32x16& b) {
  HEADLONG_LANES a.v[i] += b.v[i];
  return a;
}
static inline f32x16 sub(f32x16 a, const f32x16& b) {
  HEADLONG_LANES a.v[i] -= b.v[i];
  return a;
}
static inline f32x16 mul(f32x16 a, const f32x16& b) {
  HEADLONG_LANES a.v[i] *= b.v[i];
  return a;
}
static inline f32x16 div(f32x16 a, const f32x16& b) {
  HEADLONG_LANES a.v[i] /= b.v[i];
  return a;
}
static inline f32x16 fma(f32x16 a, const f32x16& b, const f32x16& c) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  HEADLONG_LANES a.v[i] = __builtin_fmaf(a.v[i], b.v[i], c.v[i]);
#else
  HEADLONG_LANES a.v[i] = a.v[i] * b.v[i] + c.v[i];
#endif
  return a;
}
static inline f32x16 max(f32x16 a, const f32x16& b) {
  HEADLONG_LANES a.v[i] = a.v[i] > b.v[i] ? a.v[i] : b.v[i];
  return a;
}
static inline f32x16 min(f32x16 a, const f32x16& b) {
  HEADLONG_LANES a.v[i] = a.v[i] < b.v[i] ? a.v[i] : b.v[i];
  return a;
}
static inline f32x16 abs(f32x16 a) {
  HEADLONG_LANES a.v[i] = __builtin_fabsf(a.v[i]);
  return a;
}
static inline float widen_f16(uint16_t h) {  // without a branch, so that loops vectorise
  uint32_t bits = uint32_t(h & 0x7fffu) << 13;
  float f;
  std::memcpy(&f, &bits, 4);
  f *= 0x1p112f;  // exponent bias 127 - 15; exact for subnormals too
  std::memcpy(&bits, &f, 4);
  bits |= uint32_t(h & 0x8000u) << 16;
  bits |= (h & 0x7c00u) == 0x7c00u ? 0x7f800000u : 0u;  // infinity, NaN
  std::memcpy(&f, &bits, 4);
  return f;
}
static inline uint16_t narrow_f16(float f) {  // round to nearest even, as vcvtps2ph
  uint32_t bits;
  std::memcpy(&bits, &f, 4);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  bits &= 0x7fffffffu;
  if (bits > 0x7f800000u) return uint16_t(sign | 0x7e00u | ((bits >> 13) & 0x3ffu));
  if (bits >= 0x477ff000u) return uint16_t(sign | 0x7c00u);  // rounds past 65504
  if (bits < 0x38800000u) {                                  // subnormal half
    float magnitude;
    std::memcpy(&magnitude, &bits, 4);
    magnitude += 0.5f;  // ulp of 0.5f is 2^-24, the half subnormal step
    uint32_t rounded;
    std::memcpy(&rounded, &magnitude, 4);
    return uint16_t(sign | (rounded - 0x3f000000u));
  }
  bits += 0xc8000fffu + ((bits >> 13) & 1u);
  return uint16_t(sign | (bits >> 13));
}
static inline f32x16 load_f16(const uint16_t* p) {
  f32x16 r;
  HEADLONG_LANES r.v[i] = widen_f16(p[i]);
  return r;
}
static inline f32x16 splat_f16(const uint16_t* p) { return splat(widen_f16(*p)); }
static inline void store_f16(uint16_t* p, const f32x16& a) {
  HEADLONG_LANES p[i] = narrow_f16(a.v[i]);
}
static inline f32x16 load_bf16(const uint16_t* p) {
  f32x16 r;
  HEADLONG_LANES {
    const uint32_t bits = uint32_t(p[i]) << 16;
    std::memcpy(&r.v[i], &bits, 4);
  }
  return r;
}
static inline f32x16 load_i8(const int8_t* p) {
  f32x16 r;
  HEADLONG_LANES r.v[i] = float(p[i]);
  return r;
}
static inline void load_by_four(f32x16* to, const float* p) {
  for (int j = 0; j < 4; ++j) HEADLONG_LANES to[j].v[i] = p[4 * i + j];
}
static inline f32x16 round(f32x16 a) {
  HEADLONG_LANES a.v[i] = __builtin_rintf(a.v[i]);
  return a;
}
static inline f32x16 exp2_int(const f32x16& n) {
  f32x16 r;
  HEADLONG_LANES {
    const float whole = n.v[i] == n.v[i] ? n.v[i] : 0.0f;  // NaN has no integer
    const uint32_t bits = uint32_t(int32_t(whole) + 127) << 23;
    std::memcpy(&r.v[i], &bits, 4);
  }
  return r;
}
#undef HEADLONG_LANES

#endif

// Sums of the lanes of four vectors, each as a fixed tree: (0+8, 1+9, ...), then 4, 2, 1 apart.
// Together they take 25 instructions, where one alone takes eleven.
#if defined(__AVX2__)
static inline __m128 reduce_to_four(f32x16 a) {
#if defined(__AVX512F__)
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
#else
  const __m256 half = _mm256_add_ps(a.lo, a.hi);
#endif
  return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}
static inline __m128 reduce_lanes(__m128 a, __m128 b, __m128 c, __m128 d) {
  const __m128 ab = _mm_add_ps(_mm_movelh_ps(a, b), _mm_movehl_ps(b, a));  // a02 a13 b02 b13
  const __m128 cd = _mm_add_ps(_mm_movelh_ps(c, d), _mm_movehl_ps(d, c));
  return _mm_add_ps(_mm_shuffle_ps(ab, cd, _MM_SHUFFLE(2, 0, 2, 0)),
                    _mm_shuffle_ps(ab, cd, _MM_SHUFFLE(3, 1, 3, 1)));
}
static inline void reduce_add(float* out, f32x16 a, f32x16 b, f32x16 c, f32x16 d) {
  _mm_storeu_ps(out, reduce_lanes(reduce_to_four(a), reduce_to_four(b), reduce_to_four(c),
                                  reduce_to_four(d)));
}
static inline float reduce_add(f32x16 a) {
  const __m128 four = reduce_to_four(a);
  return _mm_cvtss_f32(reduce_lanes(four, four, four, four));
}
#else
static inline float reduce_add(f32x16 a) {
  float t[16];
  store(t, a);
  for (int i = 0; i < 8; ++i) t[i] += t[i + 8];
  for (int i = 0; i < 4; ++i) t[i] += t[i + 4];
  return (t[0] + t[2]) + (t[1] + t[3]);
}
static inline void reduce_add(float* out, f32x16 a, f32x16 b, f32x16 c, f32x16 d) {
  out[0] = reduce_add(a);
  out[1] = reduce_add(b);
  out[2] = reduce_add(c);
  out[3] = reduce_add(d);
}
#endif
static inline float reduce_max(f32x16 a) {
#if defined(__AVX2__)
#if defined(__AVX512F__)
  const __m256 half = _mm256_max_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
#else
  const __m256 half = _mm256_max_ps(a.lo, a.hi);
#endif
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
#else
  float t[16];
  store(t, a);
  for (int i = 0; i < 8; ++i) t[i] = t[i] > t[i + 8] ? t[i] : t[i + 8];
  for (int i = 0; i < 4; ++i) t[i] = t[i] > t[i + 4] ? t[i] : t[i + 4];
  const float even = t[0] > t[2] ? t[0] : t[2], odd = t[1] > t[3] ? t[1] : t[3];
  return even > odd ? even : odd;
#endif
}

// e^x: 2^n * e^r with n = round(x / ln 2), |r| <= ln2/2, ln 2 in two parts (Cody-Waite), and e^r by
// its Taylor polynomial of degree 7 (truncation (ln2/2)^8/8! = 5e-9, below half an ulp of 1.0).
// Clamped to [-87, 88], so that 2^n stays normal.  min and max give their second operand where one
// is NaN: x stands second, so that NaN stays NaN.
static inline f32x16 exp(f32x16 x) {
  x = max(splat(-87.0f), min(splat(88.0f), x));
  const f32x16 n = round(mul(x, splat(1.44269504088896341f)));
  f32x16 r = fma(n, splat(-0.693359375f), x);
  r = fma(n, splat(2.12194440e-4f), r);
  f32x16 p = splat(1.0f / 5040.0f);
  p = fma(p, r, splat(1.0f / 720.0f));
  p = fma(p, r, splat(1.0f / 120.0f));
  p = fma(p, r, splat(1.0f / 24.0f));
  p = fma(p, r, splat(1.0f / 6.0f));
  p = fma(p, r, splat(0.5f));
  p = fma(p, r, splat(1.0f));
  p = fma(p, r, splat(1.0f));
  return mul(p, exp2_int(n));
}
static inline f32x16 sigmoid(f32x16 x) {
  return div(splat(1.0f), add(splat(1.0f), exp(sub(zero(), x))));
}
static inline f32x16 silu(f32x16 x) { return mul(x, sigmoid(x)); }

}  // namespace headlong::HEADLONG_ISA
