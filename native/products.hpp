// The inner kernels: one group of 16 weight rows times up to kChunk activation rows.
//
// The order of every float operation is given by the columns alone, so a row's result does not
// depend on the rows beside it.  Per activation row and lane:
//   32-column types   t = 0;  for each block: t = fma(d, float(sum), t), then with a minimum
//                     t = fma(m, float(column sum), t);  per superblock: acc = fma(dA, t, acc)
//   256-column types  x = d * float(sum), then with minima x = x - dmin * float(minima) fused;
//                     acc = fma(dA, x, acc)
//   floats            two sums, even and odd columns, each by fma in order; result even + odd
#pragma once

#include "quants.hpp"

namespace headlong::HEADLONG_ISA {

// sums[i][lane] for the N rows of a chunk; `rows` are their activations in the form of the type.
using GroupProduct = void (*)(const uint8_t* group, int cols, const void* rows,
                              float (*sums)[kLanes]);
GroupProduct float_product(PackType type, int rows);
GroupProduct block_product(PackType type, int rows);
GroupProduct super_product(PackType type, int rows);

// Calls make(Rows<N>) for N = rows, 1..kChunk, and returns its result.
template <int N>
struct Rows {};
template <class Make>
HEADLONG_INLINE GroupProduct for_rows(int rows, Make make) {
  switch (rows) {
    case 1: return make(Rows<1>{});
    case 2: return make(Rows<2>{});
    case 3: return make(Rows<3>{});
    case 4: return make(Rows<4>{});
    default: break;
  }
  if constexpr (kChunk == 8) {
    switch (rows) {
      case 5: return make(Rows<5>{});
      case 6: return make(Rows<6>{});
      case 7: return make(Rows<7>{});
      case 8: return make(Rows<8>{});
      default: break;
    }
  }
  return nullptr;
}

// The sums so far of N rows, for each part of the lanes.
template <int N>
struct Sums {
  F part[kParts][N];
};
template <int N>
HEADLONG_INLINE void clear(Sums<N>& s) {
  HEADLONG_UNROLL
  for (int p = 0; p < kParts; ++p) {
    HEADLONG_UNROLL
    for (int i = 0; i < N; ++i) s.part[p][i] = zero_float();
  }
}
template <int N>
HEADLONG_INLINE void store_sums(const Sums<N>& s, float (*sums)[kLanes]) {
  HEADLONG_UNROLL
  for (int i = 0; i < N; ++i) {
    store_lanes<0>(sums[i], s.part[0][i]);
    if constexpr (kParts == 2) store_lanes<1>(sums[i], s.part[1][i]);
  }
}

// One superblock of `blocks` blocks of 32 columns.
template <class Q, int N, int P>
HEADLONG_INLINE void block_step(const uint8_t* unit, int blocks, const int32_t* a, F (&acc)[N]) {
  F t[N];
  HEADLONG_UNROLL
  for (int i = 0; i < N; ++i) t[i] = zero_float();
  for (int first = 0; first < blocks; first += Q::kUnit, unit += Q::kUnitBytes) {
    if constexpr (P == 0) prefetch_weights<Q, N>(unit, Q::kUnitBytes);
    HEADLONG_UNROLL
    for (int j = 0; j < Q::kUnit; ++j) {
      const int b = first + j;
      if (b >= blocks) break;
      const BlockTile tile = Q::tile(unit, j);
      const F d = Q::template scale<P>(tile);
      keep_load_order();
      V sum[N];
      block_dots<Q, P, N>(tile, b, a, sum);
      HEADLONG_UNROLL
      for (int i = 0; i < N; ++i) t[i] = fused(d, to_float(sum[i]), t[i]);
      if constexpr (Q::kMinimum) {
        const F m = Q::template minimum<P>(tile);
        HEADLONG_UNROLL
        for (int i = 0; i < N; ++i)
          t[i] = fused(m, broadcast(a + i * kWords + activation::kSum32 + b), t[i]);
      }
    }
  }
  HEADLONG_UNROLL
  for (int i = 0; i < N; ++i)
    acc[i] = fused(broadcast(a + i * kWords + activation::kScale), t[i], acc[i]);
}

template <class Q, int N>
void block_group(const uint8_t* group, int cols, const void* rows, float (*sums)[kLanes]) {
  const int32_t* a = static_cast<const int32_t*>(rows);
  Sums<N> acc;
  clear(acc);
  for (int sb = 0; sb < superblocks(cols); ++sb, a += kWords * N) {
    const int blocks = blocks_in(cols, sb);
    block_step<Q, N, 0>(group, blocks, a, acc.part[0]);
    if constexpr (kParts == 2) block_step<Q, N, 1>(group, blocks, a, acc.part[1]);
    group += 8 / Q::kUnit * Q::kUnitBytes;
  }
  store_sums(acc, sums);
}

// One superblock of 256 columns.
template <class Q, int N, int P>
HEADLONG_INLINE void super_step(const uint8_t* apart, const uint8_t* tile, const int32_t* a,
                                F (&acc)[N]) {
  V total[N];
  super_sums<Q, P, N>(tile, a, total);
  const F d = Q::template d<P>(apart, tile);
  F x[N];
  HEADLONG_UNROLL
  for (int i = 0; i < N; ++i) x[i] = multiply(d, to_float(total[i]));
  if constexpr (Q::kMinPairs > 0) {
    V minima[N];
    HEADLONG_UNROLL
    for (int i = 0; i < N; ++i) minima[i] = zero_int();
    HEADLONG_UNROLL
    for (int j = 0; j < Q::kMinPairs; ++j) {
      const V pair = Q::template min_pair<P>(tile, j);
      HEADLONG_UNROLL
      for (int i = 0; i < N; ++i)
        minima[i] = dot2(minima[i], pair, a + i * kWords + Q::kPairs + j);
    }
    const F dmin = Q::template dmin<P>(tile);
    HEADLONG_UNROLL
    for (int i = 0; i < N; ++i) x[i] = fused_minus(dmin, to_float(minima[i]), x[i]);
  }
  HEADLONG_UNROLL
  for (int i = 0; i < N; ++i)
    acc[i] = fused(broadcast(a + i * kWords + activation::kScale), x[i], acc[i]);
}

template <class Q, int N>
void super_group(const uint8_t* group, int cols, const void* rows, float (*sums)[kLanes]) {
  constexpr SuperBytes bytes = kTypeInfo[Q::kType].super;
  const int32_t* a = static_cast<const int32_t*>(rows);
  const uint8_t* tile = group + head_bytes(bytes, cols);
  for (const uint8_t* head = group; head < tile; head += 64) __builtin_prefetch(head);
  Sums<N> acc;
  clear(acc);
  for (int sb = 0; sb < cols / kSuperblock; ++sb, a += kWords * N) {
    // Scales are used all along the superblock, but their lines come first.
    HEADLONG_UNROLL
    for (int at = 64; at < bytes.scale; at += 64) __builtin_prefetch(tile + at);
    super_step<Q, N, 0>(group + sb * bytes.apart, tile, a, acc.part[0]);
    if constexpr (kParts == 2)
      super_step<Q, N, 1>(group + sb * bytes.apart, tile, a, acc.part[1]);
    tile += super_bytes(bytes);
  }
  store_sums(acc, sums);
}

}  // namespace headlong::HEADLONG_ISA
