// lanes.hpp for AVX-512 with VNNI: one zmm holds all 16 rows of a group.
#pragma once

namespace headlong::HEADLONG_ISA {

using V = __m512i;
using F = __m512;
constexpr int kWidth = 16;
constexpr int kParts = 1;
// 8 dot products + 8 sums of a superblock + 8 float sums + weights and masks: 28 of 32 registers.
constexpr int kChunk = 8;
constexpr int kSignedBias = 128;  // vpdpbusd multiplies unsigned weights by signed activations

HEADLONG_INLINE V zero_int() { return _mm512_setzero_si512(); }
HEADLONG_INLINE V splat_int(int32_t x) { return _mm512_set1_epi32(x); }
template <int P>
HEADLONG_INLINE V load_quad(const uint8_t* p) {
  return _mm512_load_si512(p);
}
template <int P>
HEADLONG_INLINE V load_u8(const uint8_t* p) {
  return _mm512_cvtepu8_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(p)));
}
template <int P>
HEADLONG_INLINE V load_s8(const uint8_t* p) {
  return _mm512_cvtepi8_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(p)));
}
template <int P>
HEADLONG_INLINE V load_u16(const uint8_t* p) {
  return _mm512_cvtepu16_epi32(_mm256_load_si256(reinterpret_cast<const __m256i*>(p)));
}
// 16 x 2 bytes as 16 x 2 x 16 bits
template <int P>
HEADLONG_INLINE V load_u8_pairs(const uint8_t* p) {
  return _mm512_cvtepu8_epi16(_mm256_load_si256(reinterpret_cast<const __m256i*>(p)));
}
HEADLONG_INLINE V bit_and(V a, uint32_t mask) {
  return _mm512_and_si512(a, _mm512_set1_epi32(int(mask)));
}
HEADLONG_INLINE V bit_or(V a, V b) { return _mm512_or_si512(a, b); }
// a | (b & mask)
HEADLONG_INLINE V merge(V a, V b, uint32_t mask) {
  return _mm512_ternarylogic_epi32(a, b, _mm512_set1_epi32(int(mask)), 0xf8);
}
HEADLONG_INLINE V srl(V a, int n) { return _mm512_srli_epi32(a, unsigned(n)); }
HEADLONG_INLINE V sll(V a, int n) { return _mm512_slli_epi32(a, unsigned(n)); }
HEADLONG_INLINE V add_int(V a, V b) { return _mm512_add_epi32(a, b); }
HEADLONG_INLINE V add_bytes(V a, uint8_t b) {
  return _mm512_add_epi8(a, _mm512_set1_epi8(char(b)));
}
// a weight stored as value + 128, as value + kSignedBias
HEADLONG_INLINE V rebias(V a) { return a; }
// table[byte], each byte below 16
HEADLONG_INLINE V lookup(V bytes, const uint8_t* table) {
  const __m128i t = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
  return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(t), bytes);
}
// 2^(e - 128), e in 0..255: the scale of MXFP4 with its table doubled
HEADLONG_INLINE F half_power(V e) {
  const __mmask16 subnormal = _mm512_cmplt_epu32_mask(e, _mm512_set1_epi32(2));
  const V normal = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);
  return _mm512_castsi512_ps(_mm512_mask_sllv_epi32(
      normal, subnormal, _mm512_set1_epi32(0x00200000), e));
}

HEADLONG_INLINE F zero_float() { return _mm512_setzero_ps(); }
HEADLONG_INLINE F to_float(V a) { return _mm512_cvtepi32_ps(a); }
HEADLONG_INLINE F multiply(F a, F b) { return _mm512_mul_ps(a, b); }
HEADLONG_INLINE F add_float(F a, F b) { return _mm512_add_ps(a, b); }
HEADLONG_INLINE F fused(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }           // a*b + c
HEADLONG_INLINE F fused_minus(F a, F b, F c) { return _mm512_fnmadd_ps(a, b, c); }    // c - a*b
HEADLONG_INLINE F broadcast(const int32_t* p) {
  return _mm512_castsi512_ps(_mm512_set1_epi32(*p));
}
HEADLONG_INLINE F broadcast(const float* p) { return _mm512_set1_ps(*p); }
template <int P>
HEADLONG_INLINE F load_half(const uint8_t* p) {
  return _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(p)));
}
template <int P>
HEADLONG_INLINE F load_bfloat(const uint8_t* p) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(load_u16<P>(p), 16));
}
template <int P>
HEADLONG_INLINE F load_single(const uint8_t* p) {
  return _mm512_load_ps(p);
}
template <int P>
HEADLONG_INLINE void store_lanes(float* p, F a) {
  _mm512_storeu_ps(p, a);
}

// sum + w[0..3] * y[0..3] in each lane, y broadcast from memory by the instruction itself: the
// compiler would spend an instruction of its own on the broadcast.
HEADLONG_INLINE V dot4(V sum, V w, const int32_t* y) {
  asm("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(w), "m"(*y));
  return sum;
}
HEADLONG_INLINE V dot2(V sum, V pair, const int32_t* y) {
  asm("vpdpwssd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(pair), "m"(*y));
  return sum;
}

template <class Q, int P, int N, class Tile>
HEADLONG_INLINE void block_dots(const Tile& tile, int block, const int32_t* a, V (&sum)[N]) {
  HEADLONG_UNROLL
  for (int i = 0; i < N; ++i)
    sum[i] = Q::kOffset ? splat_int(a[i * kWords + kInit<Q> + block]) : zero_int();
  HEADLONG_UNROLL
  for (int q = 0; q < Q::kQuads; ++q) {
    const V w = Q::template quad<P>(tile, block, q);
    HEADLONG_UNROLL
    for (int i = 0; i < N; ++i) sum[i] = dot4(sum[i], w, a + i * kWords + block * Q::kQuads + q);
  }
}

// Scales multiply as floats, exactly: vpmulld takes 1.7 slots of the two pipes that vpdpbusd needs,
// a fused multiply-add 1, and conversions use other pipes.  Q::kExact blocks add up to less than
// 2^24 in magnitude, then the sum moves to 32-bit integers; where that is one block, vpmulld wins.
template <class Q, int P, int N>
HEADLONG_INLINE void super_sums(const uint8_t* tile, const int32_t* a, V (&total)[N]) {
  F exact[N];
  HEADLONG_UNROLL
  for (int b = 0; b < Q::kBlocks; ++b) {
    V sum[N];
    keep_load_order();
    prefetch_super<Q, N>(tile, b);
    block_dots<Q, P, N>(tile, b, a, sum);
    const V whole_scale = Q::template scale<P>(tile, b);
    if constexpr (Q::kExact == 1) {
      HEADLONG_UNROLL
      for (int i = 0; i < N; ++i) {
        const V scaled = _mm512_mullo_epi32(sum[i], whole_scale);
        total[i] = b == 0 ? scaled : add_int(total[i], scaled);
      }
      continue;
    }
    const F scale = to_float(whole_scale);
    HEADLONG_UNROLL
    for (int i = 0; i < N; ++i) {
      const F dot = to_float(sum[i]);
      exact[i] = b % Q::kExact == 0 ? multiply(scale, dot) : fused(scale, dot, exact[i]);
    }
    if ((b + 1) % Q::kExact != 0) continue;
    HEADLONG_UNROLL
    for (int i = 0; i < N; ++i) {
      const V whole = _mm512_cvtps_epi32(exact[i]);
      total[i] = b + 1 == Q::kExact ? whole : add_int(total[i], whole);
    }
  }
}

}  // namespace headlong::HEADLONG_ISA
