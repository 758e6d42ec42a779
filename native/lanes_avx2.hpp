// lanes.hpp for AVX2: eight of the 16 rows of a group at a time.
#pragma once

namespace headlong::HEADLONG_ISA {

using V = __m256i;
using F = __m256;
constexpr int kWidth = 8;
constexpr int kParts = 2;
// 4 dot products + 4 sums + weights, scale, masks: 14 of 16 registers.
constexpr int kChunk = 4;
constexpr int kSignedBias = 0;  // vpsignb moves the sign of a weight to the activation

HEADLONG_INLINE V zero_int() { return _mm256_setzero_si256(); }
HEADLONG_INLINE V splat_int(int32_t x) { return _mm256_set1_epi32(x); }
template <int P>
HEADLONG_INLINE V load_quad(const uint8_t* p) {
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(p + 32 * P));
}
template <int P>
HEADLONG_INLINE V load_u8(const uint8_t* p) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p + 8 * P)));
}
template <int P>
HEADLONG_INLINE V load_s8(const uint8_t* p) {
  return _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p + 8 * P)));
}
template <int P>
HEADLONG_INLINE V load_u16(const uint8_t* p) {
  return _mm256_cvtepu16_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(p + 16 * P)));
}
template <int P>
HEADLONG_INLINE V load_u8_pairs(const uint8_t* p) {
  return _mm256_cvtepu8_epi16(_mm_load_si128(reinterpret_cast<const __m128i*>(p + 16 * P)));
}
HEADLONG_INLINE V bit_and(V a, uint32_t mask) {
  return _mm256_and_si256(a, _mm256_set1_epi32(int(mask)));
}
HEADLONG_INLINE V bit_or(V a, V b) { return _mm256_or_si256(a, b); }
HEADLONG_INLINE V merge(V a, V b, uint32_t mask) { return bit_or(a, bit_and(b, mask)); }
HEADLONG_INLINE V srl(V a, int n) { return _mm256_srli_epi32(a, n); }
HEADLONG_INLINE V sll(V a, int n) { return _mm256_slli_epi32(a, n); }
HEADLONG_INLINE V add_int(V a, V b) { return _mm256_add_epi32(a, b); }
HEADLONG_INLINE V add_bytes(V a, uint8_t b) {
  return _mm256_add_epi8(a, _mm256_set1_epi8(char(b)));
}
HEADLONG_INLINE V rebias(V a) { return _mm256_xor_si256(a, _mm256_set1_epi8(char(0x80))); }
HEADLONG_INLINE V lookup(V bytes, const uint8_t* table) {
  const __m128i t = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
  return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(t), bytes);
}
HEADLONG_INLINE F half_power(V e) {
  const V subnormal = _mm256_cmpgt_epi32(_mm256_set1_epi32(2), e);
  const V normal = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
  return _mm256_castsi256_ps(_mm256_blendv_epi8(
      normal, _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e), subnormal));
}

HEADLONG_INLINE F zero_float() { return _mm256_setzero_ps(); }
HEADLONG_INLINE F to_float(V a) { return _mm256_cvtepi32_ps(a); }
HEADLONG_INLINE F multiply(F a, F b) { return _mm256_mul_ps(a, b); }
HEADLONG_INLINE F add_float(F a, F b) { return _mm256_add_ps(a, b); }
HEADLONG_INLINE F fused(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
HEADLONG_INLINE F fused_minus(F a, F b, F c) { return _mm256_fnmadd_ps(a, b, c); }
HEADLONG_INLINE F broadcast(const int32_t* p) {
  return _mm256_castsi256_ps(_mm256_set1_epi32(*p));
}
HEADLONG_INLINE F broadcast(const float* p) { return _mm256_set1_ps(*p); }
template <int P>
HEADLONG_INLINE F load_half(const uint8_t* p) {
  return _mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(p + 16 * P)));
}
template <int P>
HEADLONG_INLINE F load_bfloat(const uint8_t* p) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(load_u16<P>(p), 16));
}
template <int P>
HEADLONG_INLINE F load_single(const uint8_t* p) {
  return _mm256_load_ps(reinterpret_cast<const float*>(p + 32 * P));
}
template <int P>
HEADLONG_INLINE void store_lanes(float* p, F a) {
  _mm256_storeu_ps(p + 8 * P, a);
}

HEADLONG_INLINE V dot2(V sum, V pair, const int32_t* y) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pair, _mm256_set1_epi32(*y)));
}

// -128 * sum or -32 * sum, as the start value for weights stored plus Q::kOffset
template <class Q>
HEADLONG_INLINE V start_value(const int32_t* p) {
  if constexpr (Q::kOffset == 16) return splat_int(*p / 8);
  if constexpr (Q::kOffset == 8) return splat_int(*p / 16);
  return splat_int(*p);
}

// How many products of vpmaddubsw (two weights of at most kMax times two activations of at most
// 127) 16 bits can add up.
template <class Q>
constexpr int kRun = 32767 / (2 * 127 * Q::kMax);

// Hides how a sum came about: the compiler would otherwise re-associate long sums into trees whose
// branches do not fit the registers.
HEADLONG_INLINE void as_it_stands(V& sum) { asm("" : "+x"(sum)); }

// total[i] += pairs . (the block's products with row i), where pairs are ones, or the block's scale
// twice: vpmaddwd then adds and scales at once.
template <class Q, int P, int N, class Tile>
HEADLONG_INLINE void add_products(const Tile& tile, int block, const int32_t* a, V pairs,
                                  V (&total)[N]) {
  static_assert(kRun<Q> >= 1);
  V run[N];
  HEADLONG_UNROLL
  for (int q = 0; q < Q::kQuads; ++q) {
    const V w = Q::template quad<P>(tile, block, q);
    const V magnitude = Q::kSigned ? _mm256_abs_epi8(w) : w;
    HEADLONG_UNROLL
    for (int i = 0; i < N; ++i) {
      V y = splat_int(a[i * kWords + block * Q::kQuads + q]);
      if (Q::kSigned) y = _mm256_sign_epi8(y, w);
      const V product = _mm256_maddubs_epi16(magnitude, y);
      run[i] = q % kRun<Q> == 0 ? product : _mm256_add_epi16(run[i], product);
      if constexpr (kRun<Q> >= Q::kQuads) as_it_stands(run[i]);
      if ((q + 1) % kRun<Q> == 0 || q + 1 == Q::kQuads)
        total[i] = add_int(total[i], _mm256_madd_epi16(run[i], pairs));
    }
  }
}

template <class Q, int P, int N, class Tile>
HEADLONG_INLINE void block_dots(const Tile& tile, int block, const int32_t* a, V (&sum)[N]) {
  HEADLONG_UNROLL
  for (int i = 0; i < N; ++i)
    sum[i] = Q::kOffset ? start_value<Q>(a + i * kWords + kInit<Q> + block) : zero_int();
  add_products<Q, P, N>(tile, block, a, _mm256_set1_epi16(1), sum);
}

template <class Q, int P, int N>
HEADLONG_INLINE void super_sums(const uint8_t* tile, const int32_t* a, V (&total)[N]) {
  HEADLONG_UNROLL
  for (int i = 0; i < N; ++i) total[i] = zero_int();
  HEADLONG_UNROLL
  for (int b = 0; b < Q::kBlocks; ++b) {
    keep_load_order();
    if constexpr (P == 0) prefetch_super<Q, N>(tile, b);
    const V scale = Q::template scale<P>(tile, b);
    const V pairs = bit_or(sll(scale, 16), bit_and(scale, 0xffff));
    add_products<Q, P, N>(tile, b, a, pairs, total);
    if constexpr (Q::kOffset != 0) {
      HEADLONG_UNROLL
      for (int i = 0; i < N; ++i)
        total[i] = add_int(total[i], _mm256_mullo_epi32(
                                         start_value<Q>(a + i * kWords + kInit<Q> + b), scale));
    }
  }
}

}  // namespace headlong::HEADLONG_ISA
