// Quantisation of the 256 activations of a superblock: largest magnitude, bytes and column sums.
//
// Everything stays in registers between the two passes over x: a load that spans several narrower
// stores would wait until they reach the cache, and all this takes some 60 cycles.
#pragma once

#include <cstdint>
#include <cstring>

#include "layout.hpp"
#include "simd.hpp"

namespace headlong::HEADLONG_ISA {

// largest_magnitude: the bits of max |x[k]|, 0x7f800000 or more where an x is not finite (bits of
// floats without sign are in the order of the floats, with infinity and NaN on top).
//
// quantise_columns: q[k] = round(x[k] * inverse), half to even, within -127..127, and all words of
// the superblock (layout.hpp) but the scale.

#if defined(__AVX512F__)

static inline uint32_t largest_magnitude(const float* x) {
  const __m512i mask = _mm512_set1_epi32(0x7fffffff);
  __m512i top = _mm512_setzero_si512(), other = top;
  for (int k = 0; k < kSuperblock; k += 32) {
    top = _mm512_max_epi32(top, _mm512_and_si512(_mm512_loadu_si512(x + k), mask));
    other = _mm512_max_epi32(other, _mm512_and_si512(_mm512_loadu_si512(x + k + 16), mask));
  }
  return uint32_t(_mm512_reduce_max_epi32(_mm512_max_epi32(top, other)));
}

static inline void quantise_columns(const float* x, float inverse, int32_t* to) {
  const __m512 scale = _mm512_set1_ps(inverse);
  const __m512i ones8 = _mm512_set1_epi8(1), ones16 = _mm512_set1_epi16(1);
  // Packing interleaves the 128-bit quarters of its operands; this brings them back in order.
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  __m512i fours[4];  // sums of 4 columns
  for (int j = 0; j < 4; ++j) {
    __m512i v[4];
    for (int i = 0; i < 4; ++i)
      v[i] = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + 64 * j + 16 * i), scale));
    const __m512i packed = _mm512_packs_epi16(_mm512_packs_epi32(v[0], v[1]),
                                              _mm512_packs_epi32(v[2], v[3]));
    const __m512i q = _mm512_permutexvar_epi32(order, packed);
    _mm512_storeu_si512(to + activation::kQuad + 16 * j, q);
    fours[j] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), ones8, q);
  }
  const __m512i low = _mm512_madd_epi16(_mm512_packs_epi32(fours[0], fours[1]), ones16);
  const __m512i high = _mm512_madd_epi16(_mm512_packs_epi32(fours[2], fours[3]), ones16);
  const __m512i sum16 = _mm512_permutexvar_epi32(
      order, _mm512_madd_epi16(_mm512_packs_epi32(low, high), ones16));
  const __m256i pair16 = _mm512_cvtepi32_epi16(sum16);
  const __m256i sum32 = _mm256_madd_epi16(pair16, _mm256_set1_epi16(1));
  const __m512i zero = _mm512_setzero_si512();
  _mm512_storeu_si512(to + activation::kInit16,
                      _mm512_sub_epi32(zero, _mm512_slli_epi32(sum16, 5)));
  const auto put = [to](int word, __m256i v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + word), v);
  };
  put(activation::kInit32, _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_slli_epi32(sum32, 7)));
  put(activation::kPair16, pair16);
  put(activation::kSum32, _mm256_castps_si256(_mm256_cvtepi32_ps(sum32)));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to + activation::kPair32),
                   _mm256_cvtepi32_epi16(sum32));
}

#elif defined(__AVX2__)

static inline uint32_t largest_magnitude(const float* x) {
  const __m256i mask = _mm256_set1_epi32(0x7fffffff);
  __m256i top = _mm256_setzero_si256(), other = top;
  for (int k = 0; k < kSuperblock; k += 16) {
    const __m256i* p = reinterpret_cast<const __m256i*>(x + k);
    top = _mm256_max_epi32(top, _mm256_and_si256(_mm256_loadu_si256(p), mask));
    other = _mm256_max_epi32(other, _mm256_and_si256(_mm256_loadu_si256(p + 1), mask));
  }
  top = _mm256_max_epi32(top, other);
  __m128i m = _mm_max_epi32(_mm256_castsi256_si128(top), _mm256_extracti128_si256(top, 1));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1));
  return uint32_t(_mm_cvtsi128_si32(m));
}

static inline void quantise_columns(const float* x, float inverse, int32_t* to) {
  const __m256 scale = _mm256_set1_ps(inverse);
  const __m256i ones8 = _mm256_set1_epi8(1), ones16 = _mm256_set1_epi16(1);
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  const auto put = [to](int word, __m256i v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + word), v);
  };
  __m256i fours[8];  // sums of 4 columns
  for (int j = 0; j < 8; ++j) {
    __m256i v[4];
    for (int i = 0; i < 4; ++i)
      v[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 32 * j + 8 * i), scale));
    const __m256i packed = _mm256_packs_epi16(_mm256_packs_epi32(v[0], v[1]),
                                              _mm256_packs_epi32(v[2], v[3]));
    const __m256i q = _mm256_permutevar8x32_epi32(packed, order);
    put(activation::kQuad + 8 * j, q);
    fours[j] = _mm256_madd_epi16(_mm256_maddubs_epi16(ones8, q), ones16);
  }
  __m256i sum32[2];
  for (int j = 0; j < 2; ++j) {  // 128 columns each
    const __m256i low =
        _mm256_madd_epi16(_mm256_packs_epi32(fours[4 * j], fours[4 * j + 1]), ones16);
    const __m256i high =
        _mm256_madd_epi16(_mm256_packs_epi32(fours[4 * j + 2], fours[4 * j + 3]), ones16);
    const __m256i sum16 = _mm256_permutevar8x32_epi32(
        _mm256_madd_epi16(_mm256_packs_epi32(low, high), ones16), order);
    put(activation::kInit16 + 8 * j,
        _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_slli_epi32(sum16, 5)));
    const __m128i pair16 =
        _mm_packs_epi32(_mm256_castsi256_si128(sum16), _mm256_extracti128_si256(sum16, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + activation::kPair16 + 4 * j), pair16);
    sum32[j] = _mm256_castsi128_si256(_mm_madd_epi16(pair16, _mm_set1_epi16(1)));
  }
  const __m128i first = _mm256_castsi256_si128(sum32[0]), second = _mm256_castsi256_si128(sum32[1]);
  const __m256i both = _mm256_inserti128_si256(sum32[0], second, 1);
  put(activation::kInit32, _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_slli_epi32(both, 7)));
  put(activation::kSum32, _mm256_castps_si256(_mm256_cvtepi32_ps(both)));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to + activation::kPair32),
                   _mm_packs_epi32(first, second));
}

#else

static inline uint32_t largest_magnitude(const float* x) {
  uint32_t top = 0;
  for (int k = 0; k < kSuperblock; ++k) {
    uint32_t bits;
    std::memcpy(&bits, x + k, 4);
    bits &= 0x7fffffffu;
    top = bits > top ? bits : top;
  }
  return top;
}

static inline void quantise_columns(const float* x, float inverse, int32_t* to) {
  int8_t q[kSuperblock];
  for (int k = 0; k < kSuperblock; k += 16) {
    f32x16 a = round(mul(load(x + k), splat(inverse)));
    for (int i = 0; i < 16; ++i) q[k + i] = int8_t(int32_t(a.v[i]));
  }
  std::memcpy(to + activation::kQuad, q, sizeof q);
  int16_t sum16[16], sum32[8];
  float as_float[8];
  for (int b = 0; b < 16; ++b) {
    int sum = 0;
    for (int j = 0; j < 16; ++j) sum += q[16 * b + j];
    sum16[b] = int16_t(sum);
    to[activation::kInit16 + b] = -32 * sum;
  }
  for (int b = 0; b < 8; ++b) {
    const int sum = sum16[2 * b] + sum16[2 * b + 1];
    sum32[b] = int16_t(sum);
    as_float[b] = float(sum);
    to[activation::kInit32 + b] = -128 * sum;
  }
  std::memcpy(to + activation::kPair16, sum16, sizeof sum16);
  std::memcpy(to + activation::kSum32, as_float, sizeof as_float);
  std::memcpy(to + activation::kPair32, sum32, sizeof sum32);
}

#endif

}  // namespace headlong::HEADLONG_ISA
