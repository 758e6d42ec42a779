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
