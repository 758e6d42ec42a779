// The generator behind the noise of draws, sixteen ids at a time: how far each u is from 1.
//
// A word of (seed, position, id) is mixed twice by SplitMix64's finaliser (sampler.cpp has it id by
// id and names the sources); its upper 52 bits are u.
#pragma once

#include <cstdint>

#include "sampling.hpp"
#include "simd.hpp"

namespace headlong::HEADLONG_ISA {

constexpr uint64_t kGamma = 0x9E3779B97F4A7C15, kMix1 = 0xBF58476D1CE4E5B9,
                   kMix2 = 0x94D049BB133111EB;

// Words           id * gamma + second key, of sixteen ids
// words_of        those of ids[0..16)
// advance         to the ids that are greater by 16
// complement_bits the upper 31 bits of 1 - u, as float rounded to nearest.  The last step of the
//                 finaliser only changes lower bits, so it is left out.

#if defined(__AVX512F__)

struct Words {
  __m512i half[2];
};
static inline __m512i times(__m512i a, uint64_t b) {
  return _mm512_mullo_epi64(a, _mm512_set1_epi64(int64_t(b)));
}
template <int N>
static inline __m512i fold(__m512i a) {
  return _mm512_xor_si512(a, _mm512_srli_epi64(a, N));
}
static inline Words words_of(NoiseKeys keys, const int32_t* ids) {
  Words w;
  for (int i = 0; i < 2; ++i) {
    const __m256i some = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(ids + 8 * i));
    w.half[i] = _mm512_add_epi64(times(_mm512_cvtepi32_epi64(some), kGamma),
                                 _mm512_set1_epi64(int64_t(keys.second)));
  }
  return w;
}
static inline void advance(Words& w) {
  for (__m512i& h : w.half) h = _mm512_add_epi64(h, _mm512_set1_epi64(int64_t(16 * kGamma)));
}
static inline f32x16 complement_bits(NoiseKeys keys, const Words& words) {
  __m256i upper[2];
  for (int i = 0; i < 2; ++i) {
    __m512i w = times(fold<27>(times(fold<30>(words.half[i]), kMix1)), kMix2);
    w = _mm512_xor_si512(fold<31>(w), _mm512_set1_epi64(int64_t(keys.first)));
    w = times(fold<27>(times(fold<30>(w), kMix1)), kMix2);
    upper[i] = _mm512_cvtepi64_epi32(_mm512_srli_epi64(w, 33));
  }
  const __m512i bits = _mm512_inserti64x4(_mm512_castsi256_si512(upper[0]), upper[1], 1);
  return {_mm512_cvtepi32_ps(_mm512_xor_si512(bits, _mm512_set1_epi32(0x7fffffff)))};
}

#elif defined(__AVX2__)

struct Words {
  __m256i quarter[4];
};
// Modulo 2^64, from three products of 32 bits.
static inline __m256i times(__m256i a, uint64_t b) {
  const __m256i low = _mm256_set1_epi64x(int64_t(b & 0xffffffffu));
  const __m256i high = _mm256_set1_epi64x(int64_t(b >> 32));
  const __m256i cross = _mm256_add_epi64(_mm256_mul_epu32(_mm256_srli_epi64(a, 32), low),
                                         _mm256_mul_epu32(a, high));
  return _mm256_add_epi64(_mm256_mul_epu32(a, low), _mm256_slli_epi64(cross, 32));
}
template <int N>
static inline __m256i fold(__m256i a) {
  return _mm256_xor_si256(a, _mm256_srli_epi64(a, N));
}
static inline Words words_of(NoiseKeys keys, const int32_t* ids) {
  Words w;
  for (int i = 0; i < 4; ++i) {
    const __m128i some = _mm_loadu_si128(reinterpret_cast<const __m128i*>(ids + 4 * i));
    w.quarter[i] = _mm256_add_epi64(times(_mm256_cvtepi32_epi64(some), kGamma),
                                    _mm256_set1_epi64x(int64_t(keys.second)));
  }
  return w;
}
static inline void advance(Words& w) {
  for (__m256i& q : w.quarter) q = _mm256_add_epi64(q, _mm256_set1_epi64x(int64_t(16 * kGamma)));
}
static inline f32x16 complement_bits(NoiseKeys keys, const Words& words) {
  __m256 mixed[4];
  for (int i = 0; i < 4; ++i) {
    __m256i w = times(fold<27>(times(fold<30>(words.quarter[i]), kMix1)), kMix2);
    w = _mm256_xor_si256(fold<31>(w), _mm256_set1_epi64x(int64_t(keys.first)));
    mixed[i] = _mm256_castsi256_ps(times(fold<27>(times(fold<30>(w), kMix1)), kMix2));
  }
  __m256 halves[2];
  for (int i = 0; i < 2; ++i) {
    // Upper words of both, then the middle quarters swapped back into order.
    const __m256 both =
        _mm256_shuffle_ps(mixed[2 * i], mixed[2 * i + 1], _MM_SHUFFLE(3, 1, 3, 1));
    const __m256i upper =
        _mm256_permute4x64_epi64(_mm256_castps_si256(both), _MM_SHUFFLE(3, 1, 2, 0));
    halves[i] = _mm256_cvtepi32_ps(
        _mm256_xor_si256(_mm256_srli_epi32(upper, 1), _mm256_set1_epi32(0x7fffffff)));
  }
  return {halves[0], halves[1]};
}

#else

struct Words {
  uint64_t word[16];
};
static inline Words words_of(NoiseKeys keys, const int32_t* ids) {
  Words w;
  for (int i = 0; i < 16; ++i) w.word[i] = uint64_t(int64_t(ids[i])) * kGamma + keys.second;
  return w;
}
static inline void advance(Words& w) {
  for (uint64_t& word : w.word) word += 16 * kGamma;
}
static inline f32x16 complement_bits(NoiseKeys keys, const Words& words) {
  float bits[16];
  for (int i = 0; i < 16; ++i) {
    uint64_t w = words.word[i];
    w = (w ^ (w >> 30)) * kMix1;
    w = (w ^ (w >> 27)) * kMix2;
    w = (w ^ (w >> 31)) ^ keys.first;
    w = (w ^ (w >> 30)) * kMix1;
    w = (w ^ (w >> 27)) * kMix2;
    bits[i] = float(int32_t((w >> 33) ^ 0x7fffffffu));
  }
  return load(bits);
}

#endif

}  // namespace headlong::HEADLONG_ISA
