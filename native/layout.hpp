// The packed form of a weight matrix [rows, cols]: where each byte lies.
//
// Rows are cut into groups of 16.  Inside a group, superblocks of up to 256 consecutive columns
// follow each other, so that one group is one linear address range that a core streams.  Inside a
// superblock the 16 rows lie side by side: the unit is a "quad", 64 bytes = 16 rows x 4 consecutive
// columns (4-bit types hold two quads in those 64 bytes).  A row is a lane; sums over columns never
// cross lanes.
//
// Bytes lie in the order in which a kernel first touches them.  That matters more than any prefetch
// instruction: on Zen 4 one core reads 33 GB/s of ascending lines, but 9 GB/s where two streams
// alternate inside a superblock (say high bits here, low bits 1 KiB further on).
//
// A group takes the bytes that its rows take in the file, plus padding to whole cache lines.
#pragma once

#include <cstddef>
#include <cstdint>

namespace headlong {

constexpr int kLanes = 16;        // rows per group
constexpr int kSuperblock = 256;  // columns per superblock
constexpr int kBlock = 32;        // columns per block of the 32-column types

enum PackType : int {
  kF32, kF16, kBF16,
  kQ8_0, kQ4_0, kQ4_1, kQ5_0, kQ5_1, kIQ4_NL, kMXFP4,  // blocks of 32 columns
  kQ4_K, kQ5_K, kQ6_K, kQ2_K, kIQ4_XS,                 // superblocks of 256 columns
  kPackTypes,
};

// One group's block of 32 columns: `scale` bytes of scales and minima, `high` of high bits, `low`
// of low bits or whole weights.  As many blocks as have their scales in one cache line form a unit:
// that line, then block by block high bits and low bits.
struct BlockBytes {
  int scale, high, low;
};

// One group's superblock of 256 columns: scales and minima, then high and low bits (interleaved as
// quants.hpp says).  `apart` bytes are kept at the head of the group instead, because they would
// break the alignment to cache lines.
struct SuperBytes {
  int apart, scale, high, low;
};

struct TypeInfo {
  const char* name;
  bool floating;      // weights are floats: no activation quantisation
  int cols_multiple;  // cols of a matrix must be a multiple of this
  BlockBytes block;   // all zero unless a 32-column type
  SuperBytes super;   // all zero unless a 256-column type
};

constexpr TypeInfo kTypeInfo[kPackTypes] = {
    {"F32", true, 1, {}, {}},
    {"F16", true, 1, {}, {}},
    {"BF16", true, 1, {}, {}},
    {"Q8_0", false, 32, {32, 0, 512}, {}},
    {"Q4_0", false, 32, {32, 0, 256}, {}},
    {"Q4_1", false, 32, {64, 0, 256}, {}},
    {"Q5_0", false, 32, {32, 64, 256}, {}},
    {"Q5_1", false, 32, {64, 64, 256}, {}},
    {"IQ4_NL", false, 32, {32, 0, 256}, {}},
    {"MXFP4", false, 32, {16, 0, 256}, {}},
    {"Q4_K", false, 256, {}, {0, 256, 0, 2048}},
    {"Q5_K", false, 256, {}, {0, 256, 512, 2048}},
    {"Q6_K", false, 256, {}, {32, 256, 1024, 2048}},
    {"Q2_K", false, 256, {}, {0, 320, 0, 1024}},
    {"IQ4_XS", false, 256, {}, {0, 128, 0, 2048}},
};

static inline constexpr size_t to_line(size_t bytes) { return (bytes + 63) / 64 * 64; }

static inline constexpr int superblocks(int cols) { return (cols + kSuperblock - 1) / kSuperblock; }

// Blocks of 32 columns in superblock sb; the last superblock of a matrix may hold fewer than 8.
static inline constexpr int blocks_in(int cols, int sb) {
  const int left = (cols - sb * kSuperblock) / kBlock;
  return left < 8 ? left : 8;
}

// Blocks in a unit, and where block b of a group's row of blocks has its scales and its bits.
static inline constexpr int unit_blocks(const BlockBytes& t) { return 64 / t.scale; }
static inline constexpr int unit_bytes(const BlockBytes& t) {
  return 64 + (t.high + t.low) * unit_blocks(t);
}
static inline constexpr size_t block_scale_at(const BlockBytes& t, int b) {
  return size_t(b / unit_blocks(t)) * unit_bytes(t) + size_t(b % unit_blocks(t) * t.scale);
}
static inline constexpr size_t block_bits_at(const BlockBytes& t, int b) {
  return size_t(b / unit_blocks(t)) * unit_bytes(t) + 64 +
         size_t(b % unit_blocks(t) * (t.high + t.low));
}

static inline constexpr size_t super_bytes(const SuperBytes& s) {
  return size_t(s.scale) + s.high + s.low;
}

// Bytes at the head of a group that hold what is kept apart from the superblocks.
static inline constexpr size_t head_bytes(const SuperBytes& s, int cols) {
  return to_line(size_t(s.apart) * superblocks(cols));
}

static inline constexpr size_t group_bytes(PackType type, int cols) {
  const TypeInfo& t = kTypeInfo[type];
  if (type == kF32) return size_t(cols) * 64;
  if (t.floating) return to_line(size_t(cols) * 32);
  if (t.super.low) return head_bytes(t.super, cols) + superblocks(cols) * super_bytes(t.super);
  const int blocks = cols / kBlock;
  const int units = (blocks + unit_blocks(t.block) - 1) / unit_blocks(t.block);
  return size_t(units) * 64 + size_t(blocks) * (t.block.high + t.block.low);
}

// Quantised activations of one row and one superblock of columns, in words of 32 bits:
//   quad[64]    4 x int8: q = round(x * 127 / amax), columns 4g .. 4g+3
//   init16[16]  int32: -32 * (sum of q over 16 columns), where weights are stored plus 32
//   init32[8]   int32: -128 * (sum of q over 32 columns), where weights are stored plus 128
//   pair16[8]   2 x int16: sums over columns 32j .. 32j+15 and 32j+16 .. 32j+31
//   sum32[8]    float: sum over 32 columns
//   pair32[4]   2 x int16: sums over columns 64j .. 64j+31 and 64j+32 .. 64j+63
//   scale       float: amax / 127, or NaN where an input is not finite
// The words of the rows that are multiplied together follow each other, superblock by superblock:
// every offset of a kernel instance is then a constant.
namespace activation {
constexpr int kQuad = 0;
constexpr int kInit16 = 64;
constexpr int kInit32 = 80;
constexpr int kPair16 = 88;
constexpr int kSum32 = 96;
constexpr int kPair32 = 104;
constexpr int kScale = 108;
constexpr int kWords = 112;  // 7 cache lines, against 16 as float
}  // namespace activation

}  // namespace headlong
