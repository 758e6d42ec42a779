// What each packed type means: how a kernel gets the weights of a quad, the scales and the minima.
//
// A weight is stored as value + kOffset (0 where it is stored as it is); kSigned types give signed
// bytes where kSignedBias is 0.  kMax is the largest magnitude of a stored weight.  kExact is how
// many blocks' scaled dot products add up to less than 2^24 (the bound is worked out beside each).
// kPrefetchFrom: lanes.hpp.
#pragma once

#include "lanes.hpp"

namespace headlong::HEADLONG_ISA {

// ---- Types with a float scale per 32 columns ----------------------------------------------------

// One block of 32 columns.
struct BlockTile {
  const uint8_t *scale, *high, *low;
};

// Value * d, d a half per row
template <PackType T>
struct HalfScale {
  static constexpr int kQuads = 8, kPrefetchFrom = 3;
  static constexpr bool kMinimum = false;
  static constexpr BlockBytes kBytes = kTypeInfo[T].block;
  static constexpr int kUnit = unit_blocks(kBytes), kUnitBytes = unit_bytes(kBytes);
  // Block j of a unit.
  HEADLONG_INLINE BlockTile tile(const uint8_t* unit, int j) {
    const uint8_t* high = unit + 64 + j * (kBytes.high + kBytes.low);
    return {unit + j * kBytes.scale, high, high + kBytes.high};
  }
  template <int P>
  HEADLONG_INLINE F scale(const BlockTile& t) {
    return load_half<P>(t.scale);
  }
};

// Value * d + m, m a half per row
template <PackType T>
struct HalfScaleMinimum : HalfScale<T> {
  static constexpr bool kMinimum = true;
  template <int P>
  HEADLONG_INLINE F minimum(const BlockTile& t) {
    return load_half<P>(t.scale + 32);
  }
};

struct BlockQ8_0 : HalfScale<kQ8_0> {
  static constexpr int kOffset = kSignedBias, kMax = 128, kPrefetchFrom = 5;
  static constexpr bool kSigned = true;
  template <int P>
  HEADLONG_INLINE V quad(const BlockTile& t, int, int q) {
    return rebias(load_quad<P>(t.low + q * 64));
  }
};

// 4 bits: columns 4q.. in the low halves of quad q, columns 16 + 4q.. in the high halves
template <int P>
HEADLONG_INLINE V nibbles(const uint8_t* low, int q) {
  const V both = load_quad<P>(low + q % 4 * 64);
  return bit_and(q < 4 ? both : srl(both, 4), 0x0f0f0f0f);
}

struct BlockQ4_1 : HalfScaleMinimum<kQ4_1> {
  static constexpr int kOffset = 0, kMax = 15;
  static constexpr bool kSigned = false;
  template <int P>
  HEADLONG_INLINE V quad(const BlockTile& t, int, int q) {
    return nibbles<P>(t.low, q);
  }
};

// The values that the 16 codes of a type stand for, in the bytes that the dot product wants.
struct Codebook {
  uint8_t byte[16];
};
template <int... Values>
constexpr Codebook kCodebook{{uint8_t(Values + kSignedBias)...}};

static constexpr Codebook kLinear4 =
    kCodebook<-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7>;
static constexpr Codebook kNonlinear4 =
    kCodebook<-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113>;
static constexpr Codebook kE2M1Doubled =
    kCodebook<0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12>;

struct BlockQ4_0 : HalfScale<kQ4_0> {
  static constexpr int kOffset = kSignedBias ? kSignedBias : 8, kMax = 15;
  static constexpr bool kSigned = false;
  template <int P>
  HEADLONG_INLINE V quad(const BlockTile& t, int, int q) {
    const V codes = nibbles<P>(t.low, q);
    return kSignedBias ? lookup(codes, kLinear4.byte) : codes;
  }
};

struct BlockIQ4_NL : HalfScale<kIQ4_NL> {
  static constexpr int kOffset = kSignedBias, kMax = 127;
  static constexpr bool kSigned = true;
  template <int P>
  HEADLONG_INLINE V quad(const BlockTile& t, int, int q) {
    return lookup(nibbles<P>(t.low, q), kNonlinear4.byte);
  }
};

struct BlockMXFP4 : HalfScale<kMXFP4> {
  static constexpr int kOffset = kSignedBias, kMax = 12;
  static constexpr bool kSigned = true;
  template <int P>
  HEADLONG_INLINE V quad(const BlockTile& t, int, int q) {
    return lookup(nibbles<P>(t.low, q), kE2M1Doubled.byte);
  }
  // The scale is a power of two in 8 bits (E8M0), which a half could not hold.
  template <int P>
  HEADLONG_INLINE F scale(const BlockTile& t) {
    return half_power(load_u8<P>(t.scale));
  }
};

// 5 bits: the fifth bit of quad q is bit q of the byte of its row and column in the high plane
template <int P>
HEADLONG_INLINE V five_bits(const BlockTile& t, int q) {
  const V high = load_quad<P>(t.high);
  return merge(nibbles<P>(t.low, q), q < 4 ? sll(high, 4 - q) : srl(high, q - 4), 0x10101010);
}

struct BlockQ5_0 : HalfScale<kQ5_0> {
  static constexpr int kOffset = kSignedBias ? kSignedBias : 16, kMax = 31;
  static constexpr bool kSigned = false;
  template <int P>
  HEADLONG_INLINE V quad(const BlockTile& t, int, int q) {
    return add_bytes(five_bits<P>(t, q), kOffset - 16);
  }
};

struct BlockQ5_1 : HalfScaleMinimum<kQ5_1> {
  static constexpr int kOffset = 0, kMax = 31;
  static constexpr bool kSigned = false;
  template <int P>
  HEADLONG_INLINE V quad(const BlockTile& t, int, int q) {
    return five_bits<P>(t, q);
  }
};

// ---- Types with integer scales inside a superblock of 256 columns -------------------------------

// Eight 6-bit scales and eight 6-bit minima of a row are 96 bits: three words X, Y, Z of which the
// packer makes
//   X  halves: minimum 0 | minimum 2 << 6 | scale 4 low 4 bits << 12,  and 1, 3, 5 likewise
//   Y  halves: minimum 4 | minimum 6 << 6 | scale 6 low 4 bits << 12,  and 5, 7, 7
//   Z  halves: scale 0 | scale 2 << 6 | scale 4 high 2 bits << 12 | scale 6 high 2 bits << 14,
//      and 1, 3, 5, 7
// so that minima come out as the pairs of 16 bits that are multiplied by pairs of column sums.
// About 30 instructions per superblock for all rows and activations, against 64 bytes (2.8 %) more
// to read if each scale had a byte.
struct SixBitScales {
  template <int P>
  HEADLONG_INLINE V scale(const uint8_t* t, int b) {
    const V z = load_quad<P>(t + 128);
    if (b < 4) return bit_and(srl(z, b % 2 * 16 + b / 2 * 6), 63);
    const V low = srl(load_quad<P>(t + (b < 6 ? 0 : 64)), 12);
    const V pair = merge(bit_and(low, 0x000f000f), srl(z, b < 6 ? 8 : 10), 0x00300030);
    return b % 2 ? srl(pair, 16) : bit_and(pair, 63);
  }
  template <int P>
  HEADLONG_INLINE V min_pair(const uint8_t* t, int j) {
    return bit_and(srl(load_quad<P>(t + j / 2 * 64), j % 2 * 6), 0x003f003f);
  }
  template <int P>
  HEADLONG_INLINE F d(const uint8_t*, const uint8_t* t) {
    return load_half<P>(t + 192);
  }
  template <int P>
  HEADLONG_INLINE F dmin(const uint8_t* t) {
    return load_half<P>(t + 224);
  }
};

// 4 bits of block b: blocks 2c and 2c + 1 share eight quads, one in the low and one in the high
// halves of the bytes
template <int P>
HEADLONG_INLINE V half_bytes(const uint8_t* quad, bool high) {
  const V both = load_quad<P>(quad);
  return bit_and(high ? srl(both, 4) : both, 0x0f0f0f0f);
}

struct SuperQ4_K : SixBitScales {
  static constexpr PackType kType = kQ4_K;
  static constexpr int kBlocks = 8, kQuads = 8, kPrefetchFrom = 2, kOffset = 0, kMax = 15;
  static constexpr int kExact = 4;  // 15 * 127 * 32 columns * 63 * 4 blocks < 2^24
  static constexpr int kMinPairs = 4, kPairs = activation::kPair32;
  static constexpr bool kSigned = false;
  template <int P>
  HEADLONG_INLINE V quad(const uint8_t* t, int b, int q) {
    return half_bytes<P>(t + 256 + (b / 2 * 8 + q) * 64, b % 2);
  }
};

struct SuperQ5_K : SixBitScales {
  static constexpr PackType kType = kQ5_K;
  static constexpr int kBlocks = 8, kQuads = 8, kPrefetchFrom = 3, kOffset = 0, kMax = 31;
  static constexpr int kExact = 2;  // 31 * 127 * 32 * 63 * 2 < 2^24
  static constexpr int kMinPairs = 4, kPairs = activation::kPair32;
  static constexpr bool kSigned = false;
  // Bit b of high quad q is the fifth bit of block b, quad q.  The eight high quads alternate with
  // the low quads of blocks 0 and 1, which are read with them.
  template <int P>
  HEADLONG_INLINE V quad(const uint8_t* t, int b, int q) {
    const V high = load_quad<P>(t + 256 + 2 * q * 64);
    const int low = b < 2 ? 2 * q + 1 : 8 + b / 2 * 8 + q;
    return merge(half_bytes<P>(t + 256 + low * 64, b % 2),
                 b < 4 ? sll(high, 4 - b) : srl(high, b - 4), 0x10101010);
  }
};

// Scale per 16 columns.  Each half of the superblock holds four runs j of 32 columns (two blocks):
// their high 2 bits are bits 2j of eight high quads, their low 4 bits the low (j < 2) or high
// halves of 16 low quads, eight for even j and eight for odd.  The high quads alternate with the
// first eight low quads, then follow the other eight.
struct SuperQ6_K {
  static constexpr PackType kType = kQ6_K;
  static constexpr int kBlocks = 16, kQuads = 4, kPrefetchFrom = 2, kOffset = 32, kMax = 63;
  static constexpr int kExact = 2;  // 32 * 127 * 16 * 128 * 2 < 2^24
  static constexpr int kMinPairs = 0, kPairs = 0;
  static constexpr bool kSigned = false;
  template <int P>
  HEADLONG_INLINE V quad(const uint8_t* t, int b, int q) {
    const int j = b % 8 / 2, l = b % 2 * 4 + q;
    const uint8_t* half = t + 256 + b / 8 * 24 * 64;
    const V high = load_quad<P>(half + 2 * l * 64);
    const V both = load_quad<P>(half + (j % 2 ? 16 + l : 2 * l + 1) * 64);
    return merge(bit_and(j < 2 ? both : srl(both, 4), 0x0f0f0f0f),
                 j < 2 ? sll(high, 4 - 2 * j) : srl(high, 2 * j - 4), 0x30303030);
  }
  template <int P>
  HEADLONG_INLINE V scale(const uint8_t* t, int b) {
    return load_s8<P>(t + b * 16);
  }
  template <int P>
  HEADLONG_INLINE F d(const uint8_t* apart, const uint8_t*) {
    return load_half<P>(apart);
  }
};

// Scale and minimum per 16 columns, 4 bits each in one byte; bytes of blocks 2j and 2j + 1 adjacent
struct SuperQ2_K {
  static constexpr PackType kType = kQ2_K;
  static constexpr int kBlocks = 16, kQuads = 4, kPrefetchFrom = 3, kOffset = 0, kMax = 3;
  static constexpr int kExact = 16;  // 3 * 127 * 16 * 15 * 16 < 2^24
  static constexpr int kMinPairs = 8, kPairs = activation::kPair16;
  static constexpr bool kSigned = false;
  template <int P>
  HEADLONG_INLINE V quad(const uint8_t* t, int b, int q) {
    const V all = load_quad<P>(t + 320 + (b / 8 * 8 + b % 2 * 4 + q) * 64);
    return bit_and(srl(all, b % 8 / 2 * 2), 0x03030303);
  }
  template <int P>
  HEADLONG_INLINE V scale(const uint8_t* t, int b) {
    return bit_and(srl(load_u8_pairs<P>(t + b / 2 * 32), b % 2 * 16), 15);
  }
  template <int P>
  HEADLONG_INLINE V min_pair(const uint8_t* t, int j) {
    return bit_and(srl(load_u8_pairs<P>(t + j * 32), 4), 0x000f000f);
  }
  template <int P>
  HEADLONG_INLINE F d(const uint8_t*, const uint8_t* t) {
    return load_half<P>(t + 256);
  }
  template <int P>
  HEADLONG_INLINE F dmin(const uint8_t* t) {
    return load_half<P>(t + 288);
  }
};

// Scale per 32 columns: 6 bits, minus 32; low 4 bits of all eight in a word, high 2 bits in 16 bits
struct SuperIQ4_XS {
  static constexpr PackType kType = kIQ4_XS;
  static constexpr int kBlocks = 8, kQuads = 8, kPrefetchFrom = 3;
  static constexpr int kOffset = kSignedBias, kMax = 127;
  static constexpr int kExact = 1;  // 127 * 127 * 32 * 32 < 2^24
  static constexpr int kMinPairs = 0, kPairs = 0;
  static constexpr bool kSigned = true;
  template <int P>
  HEADLONG_INLINE V quad(const uint8_t* t, int b, int q) {
    return lookup(nibbles<P>(t + 128 + b * 256, q), kNonlinear4.byte);
  }
  template <int P>
  HEADLONG_INLINE V scale(const uint8_t* t, int b) {
    const V low = bit_and(srl(load_quad<P>(t), 4 * b), 15);
    const V high = load_u16<P>(t + 64);
    const V six = merge(low, b < 2 ? sll(high, 4 - 2 * b) : srl(high, 2 * b - 4), 0x30);
    return add_int(six, splat_int(-32));
  }
  template <int P>
  HEADLONG_INLINE F d(const uint8_t*, const uint8_t* t) {
    return load_half<P>(t + 96);
  }
};

}  // namespace headlong::HEADLONG_ISA
