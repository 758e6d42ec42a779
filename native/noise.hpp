// The generator behind the noise of draws, sixteen ids at a time: how far each u is from 1.
//
// A word of (seed, position, id) is made by SplitMix64's finaliser (sampler.cpp has it id by id and
// names the sources); its upper 52 bits are u.
#pragma once

#include <cstdint>
#include <cstring>

#include "sampling.hpp"
#include "simd.hpp"

namespace headlong::HEADLONG_ISA {

constexpr uint64_t kGamma = 0x9E3779B97F4A7C15, kMix1 = 0xBF58476D1CE4E5B9,
                   kMix2 = 0x94D049BB133111EB;

// complement_bits: for ids[0..16), or first, first + 1, ... where ids is null, the upper 31 bits of
// 1 - u as a float (rounded to nearest).

#if defined(__AVX512F__)

static inline __m512i mix(__m512i w) {
  w = _mm512_mullo_epi64(_mm512_xor_si512(w, _mm512_srli_epi64(w, 30)),
                         _mm512_set1_epi64(int64_t(kMix1)));
  w = _mm512_mullo_epi64(_mm512_xor_si512(w, _mm512_srli_epi64(w, 27)),
                         _mm512_set1_epi64(int64_t(kMix2)));
  return _mm512_xor_si512(w, _mm512_srli_epi64(w, 31));
}
static inline __m256i upper_bits(NoiseKeys keys, __m256i ids) {
  const __m512i scaled =
      _mm512_mullo_epi64(_mm512_cvtepi32_epi64(ids), _mm512_set1_epi64(int64_t(kGamma)));
  __m512i w = mix(_mm512_add_epi64(scaled, _mm512_set1_epi64(int64_t(keys.second))));
  w = mix(_mm512_xor_si512(w, _mm512_set1_epi64(int64_t(keys.first))));
  return _mm512_cvtepi64_epi32(_mm512_srli_epi64(w, 33));
}
static inline f32x16 complement_bits(NoiseKeys keys, const int32_t* ids, int32_t first) {
  const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i id =
      ids ? _mm512_loadu_si512(ids) : _mm512_add_epi32(lanes, _mm512_set1_epi32(first));
  const __m512i bits = _mm512_inserti64x4(
      _mm512_castsi256_si512(upper_bits(keys, _mm512_castsi512_si256(id))),
      upper_bits(keys, _mm512_extracti64x4_epi64(id, 1)), 1);
  return {_mm512_cvtepi32_ps(_mm512_xor_si512(bits, _mm512_set1_epi32(0x7fffffff)))};
}

#elif defined(__AVX2__)

// a * b modulo 2^64, from three products of 32 bits.
static inline __m256i multiply(__m256i a, uint64_t b) {
  const __m256i low = _mm256_set1_epi64x(int64_t(b & 0xffffffffu));
  const __m256i high = _mm256_set1_epi64x(int64_t(b >> 32));
  const __m256i cross = _mm256_add_epi64(_mm256_mul_epu32(_mm256_srli_epi64(a, 32), low),
                                         _mm256_mul_epu32(a, high));
  return _mm256_add_epi64(_mm256_mul_epu32(a, low), _mm256_slli_epi64(cross, 32));
}
static inline __m256i mix(__m256i w) {
  w = multiply(_mm256_xor_si256(w, _mm256_srli_epi64(w, 30)), kMix1);
  w = multiply(_mm256_xor_si256(w, _mm256_srli_epi64(w, 27)), kMix2);
  return _mm256_xor_si256(w, _mm256_srli_epi64(w, 31));
}
// In the upper half of each 64-bit lane: the upper 31 bits, shifted down by one.
static inline __m256i upper_bits(NoiseKeys keys, __m128i ids) {
  const __m256i scaled = multiply(_mm256_cvtepi32_epi64(ids), kGamma);
  __m256i w = mix(_mm256_add_epi64(scaled, _mm256_set1_epi64x(int64_t(keys.second))));
  return mix(_mm256_xor_si256(w, _mm256_set1_epi64x(int64_t(keys.first))));
}
static inline __m256 complement_half(NoiseKeys keys, __m256i ids) {
  const __m256 a = _mm256_castsi256_ps(upper_bits(keys, _mm256_castsi256_si128(ids)));
  const __m256 b = _mm256_castsi256_ps(upper_bits(keys, _mm256_extracti128_si256(ids, 1)));
  // Odd words of both, then the middle quarters swapped back into order.
  const __m256i words = _mm256_permute4x64_epi64(
      _mm256_castps_si256(_mm256_shuffle_ps(a, b, _MM_SHUFFLE(3, 1, 3, 1))),
      _MM_SHUFFLE(3, 1, 2, 0));
  return _mm256_cvtepi32_ps(
      _mm256_xor_si256(_mm256_srli_epi32(words, 1), _mm256_set1_epi32(0x7fffffff)));
}
static inline f32x16 complement_bits(NoiseKeys keys, const int32_t* ids, int32_t first) {
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const auto at = [&](int j) {
    return ids ? _mm256_loadu_si256(reinterpret_cast<const __m256i*>(ids + j))
               : _mm256_add_epi32(lanes, _mm256_set1_epi32(first + j));
  };
  return {complement_half(keys, at(0)), complement_half(keys, at(8))};
}

#else

static inline uint64_t mix(uint64_t w) {
  w = (w ^ (w >> 30)) * kMix1;
  w = (w ^ (w >> 27)) * kMix2;
  return w ^ (w >> 31);
}
static inline f32x16 complement_bits(NoiseKeys keys, const int32_t* ids, int32_t first) {
  alignas(64) float bits[16];
  for (int i = 0; i < 16; ++i) {
    const uint64_t id = uint64_t(ids ? ids[i] : first + i);
    const uint64_t w = mix(mix(id * kGamma + keys.second) ^ keys.first);
    bits[i] = float(int32_t((w >> 33) ^ 0x7fffffffu));
  }
  return load(bits);
}

#endif

}  // namespace headlong::HEADLONG_ISA
