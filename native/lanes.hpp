// Integer lanes for the packed weight kernels: a lane is one of the 16 rows of a group.
//
// Each instruction set defines the same small vocabulary:
//   V            kWidth lanes of 32 bits (of integers, of 4 bytes, or of 2 x 16 bits)
//   F            kWidth lanes of float
//   kParts       16 / kWidth; template argument P names the part that a load or store concerns
//   kChunk       activation rows per kernel call: what fits the registers
//   kSignedBias  what kernels add to signed 8-bit weights, because the dot product wants them so
//   block_dots   sum[i] = dot product of one block of columns with row i
//   super_sums   total[i] = sum over the blocks of a superblock of scale * dot product with row i
// All sums are exact in 32 bits, so every set gives the same integers.
#pragma once

#include <cstdint>
#include <cstring>

#include "layout.hpp"
#include "simd.hpp"

#define HEADLONG_INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define HEADLONG_UNROLL _Pragma("clang loop unroll(full)")
#else
#define HEADLONG_UNROLL _Pragma("GCC unroll 16")
#endif

namespace headlong::HEADLONG_ISA {

using activation::kWords;

// Keeps the compiler from moving loads across: lines of weights must be touched in the order in
// which they lie (layout.hpp), which instruction scheduling would undo.
HEADLONG_INLINE void keep_load_order() { asm volatile("" ::: "memory"); }

// Asks for weights 12 KiB ahead, into L2, from Q::kPrefetchFrom rows on: so many rows keep the
// core so long with a line that neither its own look-ahead (some 300 instructions) nor the hardware
// prefetcher, which waits for it, keeps memory busy.  With fewer they do, and asking costs up to a
// fifth.  Zen 4, one core, weights out of memory: Q4_K with 8 rows 8.8 -> 12.8 GB/s, Q8_0 with 6
// 20 -> 29 GB/s, as fast as out of L2; two cores, two rows: Q4_K 11.4 -> 18.0, Q6_K 12.7 -> 18.3,
// but Q4_1 32.4 -> 28.1.  Every line has to be asked for: every other one is as slow as none.
template <class Q, int N>
HEADLONG_INLINE void prefetch_weights(const uint8_t* from, int bytes) {
  constexpr int kAhead = 12 << 10;
  if constexpr (N >= Q::kPrefetchFrom) {
    HEADLONG_UNROLL
    for (int at = 0; at < bytes; at += 64) __builtin_prefetch(from + kAhead + at, 0, 2);
  }
}
// Block b's share of the superblock's lines.
template <class Q, int N>
HEADLONG_INLINE void prefetch_super(const uint8_t* tile, int b) {
  constexpr int lines = int(super_bytes(kTypeInfo[Q::kType].super) / 64);
  const int first = b * lines / Q::kBlocks, end = (b + 1) * lines / Q::kBlocks;
  prefetch_weights<Q, N>(tile + first * 64, (end - first) * 64);
}

// First word of the start values that undo a weight offset of 32 or 128 (layout.hpp).
template <class Q>
constexpr int kInit = Q::kOffset == 32 ? activation::kInit16 : activation::kInit32;

}  // namespace headlong::HEADLONG_ISA

#if defined(__AVX512F__)
#include "lanes_avx512.hpp"
#elif defined(__AVX2__)
#include "lanes_avx2.hpp"
#else
#include "lanes_portable.hpp"
#endif
