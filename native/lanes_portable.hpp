// lanes.hpp for any machine: plain loops over the 16 rows of a group.
#pragma once

namespace headlong::HEADLONG_ISA {

struct V {
  uint32_t v[16];
};
struct F {
  float v[16];
};
constexpr int kWidth = 16;
constexpr int kParts = 1;
constexpr int kChunk = 4;
constexpr int kSignedBias = 128;

#define HEADLONG_LANES for (int r = 0; r < 16; ++r)

HEADLONG_INLINE V splat_int(int32_t x) {
  V a;
  HEADLONG_LANES a.v[r] = uint32_t(x);
  return a;
}
HEADLONG_INLINE V zero_int() { return splat_int(0); }
template <int P>
HEADLONG_INLINE V load_quad(const uint8_t* p) {
  V a;
  std::memcpy(a.v, p, sizeof a.v);
  return a;
}
template <int P>
HEADLONG_INLINE V load_u8(const uint8_t* p) {
  V a;
  HEADLONG_LANES a.v[r] = p[r];
  return a;
}
template <int P>
HEADLONG_INLINE V load_s8(const uint8_t* p) {
  V a;
  HEADLONG_LANES a.v[r] = uint32_t(int32_t(int8_t(p[r])));
  return a;
}
template <int P>
HEADLONG_INLINE V load_u16(const uint8_t* p) {
  V a;
  HEADLONG_LANES a.v[r] = uint32_t(p[2 * r]) | uint32_t(p[2 * r + 1]) << 8;
  return a;
}
template <int P>
HEADLONG_INLINE V load_u8_pairs(const uint8_t* p) {
  V a;
  HEADLONG_LANES a.v[r] = uint32_t(p[2 * r]) | uint32_t(p[2 * r + 1]) << 16;
  return a;
}
HEADLONG_INLINE V bit_and(V a, uint32_t mask) {
  HEADLONG_LANES a.v[r] &= mask;
  return a;
}
HEADLONG_INLINE V bit_or(V a, const V& b) {
  HEADLONG_LANES a.v[r] |= b.v[r];
  return a;
}
HEADLONG_INLINE V merge(V a, const V& b, uint32_t mask) {
  HEADLONG_LANES a.v[r] |= b.v[r] & mask;
  return a;
}
HEADLONG_INLINE V srl(V a, int n) {
  HEADLONG_LANES a.v[r] >>= n;
  return a;
}
HEADLONG_INLINE V sll(V a, int n) {
  HEADLONG_LANES a.v[r] <<= n;
  return a;
}
HEADLONG_INLINE V add_int(V a, const V& b) {
  HEADLONG_LANES a.v[r] += b.v[r];
  return a;
}
// No carry crosses a byte: the sums that kernels form stay below 256.
HEADLONG_INLINE V add_bytes(V a, uint8_t b) {
  HEADLONG_LANES a.v[r] += 0x01010101u * b;
  return a;
}
HEADLONG_INLINE V rebias(const V& a) { return a; }
HEADLONG_INLINE V lookup(V a, const uint8_t* table) {
  uint8_t bytes[64];
  std::memcpy(bytes, a.v, 64);
  for (int j = 0; j < 64; ++j) bytes[j] = table[bytes[j]];
  std::memcpy(a.v, bytes, 64);
  return a;
}
HEADLONG_INLINE F half_power(const V& e) {
  F f;
  HEADLONG_LANES {
    const uint32_t bits = e.v[r] < 2 ? 0x00200000u << e.v[r] : (e.v[r] - 1) << 23;
    std::memcpy(&f.v[r], &bits, 4);
  }
  return f;
}

HEADLONG_INLINE F zero_float() {
  F f;
  HEADLONG_LANES f.v[r] = 0.0f;
  return f;
}
HEADLONG_INLINE F to_float(const V& a) {
  F f;
  HEADLONG_LANES f.v[r] = float(int32_t(a.v[r]));
  return f;
}
HEADLONG_INLINE F multiply(F a, const F& b) {
  HEADLONG_LANES a.v[r] *= b.v[r];
  return a;
}
HEADLONG_INLINE F add_float(F a, const F& b) {
  HEADLONG_LANES a.v[r] += b.v[r];
  return a;
}
HEADLONG_INLINE F fused(F a, const F& b, const F& c) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  HEADLONG_LANES a.v[r] = __builtin_fmaf(a.v[r], b.v[r], c.v[r]);
#else
  HEADLONG_LANES a.v[r] = a.v[r] * b.v[r] + c.v[r];
#endif
  return a;
}
HEADLONG_INLINE F fused_minus(F a, const F& b, const F& c) {
  HEADLONG_LANES a.v[r] = -a.v[r];
  return fused(a, b, c);
}
HEADLONG_INLINE F broadcast(const float* p) {
  F f;
  HEADLONG_LANES f.v[r] = *p;
  return f;
}
HEADLONG_INLINE F broadcast(const int32_t* p) {
  float x;
  std::memcpy(&x, p, 4);
  return broadcast(&x);
}
template <int P>
HEADLONG_INLINE F load_half(const uint8_t* p) {
  uint16_t h[16];
  std::memcpy(h, p, sizeof h);
  F f;
  store(f.v, load_f16(h));
  return f;
}
template <int P>
HEADLONG_INLINE F load_bfloat(const uint8_t* p) {
  uint16_t h[16];
  std::memcpy(h, p, sizeof h);
  F f;
  store(f.v, load_bf16(h));
  return f;
}
template <int P>
HEADLONG_INLINE F load_single(const uint8_t* p) {
  F f;
  std::memcpy(f.v, p, sizeof f.v);
  return f;
}
template <int P>
HEADLONG_INLINE void store_lanes(float* p, const F& a) {
  std::memcpy(p, a.v, sizeof a.v);
}

HEADLONG_INLINE V dot2(V sum, const V& pair, const int32_t* y) {
  const int32_t even = int16_t(*y & 0xffff), odd = *y >> 16;
  HEADLONG_LANES sum.v[r] +=
      uint32_t(int32_t(int16_t(pair.v[r] & 0xffff)) * even + (int32_t(pair.v[r]) >> 16) * odd);
  return sum;
}

template <class Q, int P, int N, class Tile>
HEADLONG_INLINE void block_dots(const Tile& tile, int block, const int32_t* a, V (&sum)[N]) {
  for (int i = 0; i < N; ++i)
    sum[i] = Q::kOffset ? splat_int(a[i * kWords + kInit<Q> + block]) : zero_int();
  for (int q = 0; q < Q::kQuads; ++q) {
    const V w = Q::template quad<P>(tile, block, q);
    for (int i = 0; i < N; ++i) {
      const uint32_t y = uint32_t(a[i * kWords + block * Q::kQuads + q]);
      for (int byte = 0; byte < 32; byte += 8) {
        const int32_t activation = int8_t(y >> byte & 0xff);
        HEADLONG_LANES sum[i].v[r] += uint32_t(int32_t(w.v[r] >> byte & 0xff) * activation);
      }
    }
  }
}

template <class Q, int P, int N>
HEADLONG_INLINE void super_sums(const uint8_t* tile, const int32_t* a, V (&total)[N]) {
  for (int i = 0; i < N; ++i) total[i] = zero_int();
  for (int b = 0; b < Q::kBlocks; ++b) {
    V sum[N];
    block_dots<Q, P, N>(tile, b, a, sum);
    const V scale = Q::template scale<P>(tile, b);
    for (int i = 0; i < N; ++i) HEADLONG_LANES total[i].v[r] += sum[i].v[r] * scale.v[r];
  }
}

#undef HEADLONG_LANES

}  // namespace headlong::HEADLONG_ISA
