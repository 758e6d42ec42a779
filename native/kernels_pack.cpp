// From GGUF blocks to the packed layout.
//
// Almost all of it moves words of 32 bits: a row's word j becomes lane `row` of quad j.  A store
// per word into a group's block or superblock, which stays in L1, packs faster than memory delivers
// files.
#include "pack.hpp"

#include <cstring>

#include "simd.hpp"

namespace headlong::HEADLONG_ISA {

static inline uint32_t word(const uint8_t* p) {
  uint32_t w;
  std::memcpy(&w, p, 4);
  return w;
}
static inline void put(uint8_t* to, int quad, int lane, uint32_t w) {
  std::memcpy(to + quad * 64 + lane * 4, &w, 4);
}
static inline void put_half(uint8_t* to, int lane, const uint8_t* half) {
  std::memcpy(to + lane * 2, half, 2);
}

// Bit 4g + b of a row's word of fifth bits to bit 8b + g: byte b then holds the bits of columns
// 4g + b, quad g in bit g.
static inline uint32_t spread_fifth_bits(uint32_t bits) {
  uint32_t to = 0;
  for (int b = 0; b < 4; ++b)
    for (int g = 0; g < 8; ++g) to |= (bits >> (4 * g + b) & 1u) << (8 * b + g);
  return to;
}

// Bytes of a block of a 32-column type in a file: scale, minimum, fifth bits, words.
template <PackType T>
struct BlockSource {
  static constexpr BlockBytes bytes = kTypeInfo[T].block;
  static constexpr bool minimum = bytes.scale == 64;
  static constexpr int scale = T == kMXFP4 ? 1 : minimum ? 4 : 2;
  static constexpr int fifth = bytes.high ? 4 : 0;
  static constexpr int words = bytes.low / 64;
  static constexpr int size = scale + fifth + 4 * words;
};

// One row's block of a 32-column type.
template <PackType T>
static inline void pack_block(const uint8_t* raw, int lane, uint8_t* scales, uint8_t* bits) {
  using S = BlockSource<T>;
  if (T == kMXFP4) {
    scales[lane] = raw[0];
  } else {
    put_half(scales, lane, raw);
    if (S::minimum) put_half(scales + 32, lane, raw + 2);
  }
  if (S::fifth) put(bits, 0, lane, spread_fifth_bits(word(raw + S::scale)));
  for (int j = 0; j < S::words; ++j) {
    const uint32_t w = word(raw + S::scale + S::fifth + 4 * j);
    put(bits + S::bytes.high, j, lane, T == kQ8_0 ? w ^ 0x80808080u : w);  // Q8_0: value + 128
  }
}

// The twelve bytes of eight 6-bit scales and minima of Q4_K and Q5_K, as words X, Y, Z
// (SixBitScales in quants.hpp).
static void pack_six_bits(const uint8_t* s, int lane, uint8_t* to) {
  uint32_t scale[8], minimum[8];
  for (int j = 0; j < 4; ++j) {
    scale[j] = s[j] & 63;
    minimum[j] = s[j + 4] & 63;
    scale[j + 4] = uint32_t(s[j + 8] & 15) | uint32_t(s[j] >> 6) << 4;
    minimum[j + 4] = uint32_t(s[j + 8] >> 4) | uint32_t(s[j + 4] >> 6) << 4;
  }
  uint32_t x = 0, y = 0, z = 0;
  for (int half = 0; half < 2; ++half) {
    const int at = 16 * half;
    x |= (minimum[half] | minimum[2 + half] << 6 | (scale[4 + half] & 15) << 12) << at;
    y |= (minimum[4 + half] | minimum[6 + half] << 6 | (scale[6 + half] & 15) << 12) << at;
    z |= (scale[half] | scale[2 + half] << 6 | scale[4 + half] >> 4 << 12 |
          scale[6 + half] >> 4 << 14)
         << at;
  }
  put(to, 0, lane, x);
  put(to, 1, lane, y);
  put(to, 2, lane, z);
}

static void pack_words(const uint8_t* raw, int words, int lane, uint8_t* to) {
  for (int j = 0; j < words; ++j) put(to, j, lane, word(raw + 4 * j));
}

static void pack_q4_k(const uint8_t* raw, int lane, uint8_t* tile) {
  put_half(tile + 192, lane, raw);
  put_half(tile + 224, lane, raw + 2);
  pack_six_bits(raw + 4, lane, tile);
  pack_words(raw + 16, 32, lane, tile + 256);
}

static void pack_q5_k(const uint8_t* raw, int lane, uint8_t* tile) {
  put_half(tile + 192, lane, raw);
  put_half(tile + 224, lane, raw + 2);
  pack_six_bits(raw + 4, lane, tile);
  for (int q = 0; q < 8; ++q) {  // high and low quads alternate at first (quants.hpp)
    put(tile + 256, 2 * q, lane, word(raw + 16 + 4 * q));
    put(tile + 256, 2 * q + 1, lane, word(raw + 48 + 4 * q));
  }
  pack_words(raw + 80, 24, lane, tile + 256 + 16 * 64);
}

static void pack_q6_k(const uint8_t* raw, int lane, uint8_t* tile, uint8_t* apart) {
  for (int half = 0; half < 2; ++half) {
    uint8_t* to = tile + 256 + half * 24 * 64;
    for (int q = 0; q < 8; ++q) {  // high and low quads alternate at first (quants.hpp)
      put(to, 2 * q, lane, word(raw + 128 + half * 32 + 4 * q));
      put(to, 2 * q + 1, lane, word(raw + half * 64 + 4 * q));
    }
    pack_words(raw + half * 64 + 32, 8, lane, to + 16 * 64);
  }
  for (int b = 0; b < 16; ++b) tile[b * 16 + lane] = raw[192 + b];
  put_half(apart, lane, raw + 208);
}

static void pack_q2_k(const uint8_t* raw, int lane, uint8_t* tile) {
  for (int b = 0; b < 16; ++b) tile[b / 2 * 32 + lane * 2 + b % 2] = raw[b];
  pack_words(raw + 16, 16, lane, tile + 320);
  put_half(tile + 256, lane, raw + 80);
  put_half(tile + 288, lane, raw + 82);
}

static void pack_iq4_xs(const uint8_t* raw, int lane, uint8_t* tile) {
  put_half(tile + 96, lane, raw);
  put_half(tile + 64, lane, raw + 2);
  put(tile, 0, lane, word(raw + 4));
  pack_words(raw + 8, 32, lane, tile + 128);
}

// Q3_K as Q6_K, value for value: Q3_K weighs d * (scale - 32) * (code - 4 or code), Q6_K
// d * scale * (code - 32), and both multiply in that order.
static void q3_k_to_q6_k(const uint8_t* raw, uint8_t* to) {
  const uint8_t *mask = raw, *low = raw + 32, *packed = raw + 96;
  std::memset(to, 0, 208);
  std::memcpy(to + 208, raw + 108, 2);
  for (int s = 0; s < 16; ++s) {
    const int low4 = s < 8 ? packed[s] & 15 : packed[s - 8] >> 4;
    const int high2 = packed[8 + s % 4] >> (s / 4 * 2) & 3;
    to[192 + s] = uint8_t(int8_t((low4 | high2 << 4) - 32));
  }
  for (int half = 0; half < 2; ++half)
    for (int j = 0; j < 4; ++j)
      for (int l = 0; l < 32; ++l) {
        const int code = low[half * 32 + l] >> (2 * j) & 3;
        const int q = code - (mask[l] >> (half * 4 + j) & 1 ? 0 : 4) + 32;
        to[half * 64 + j % 2 * 32 + l] |= uint8_t((q & 15) << (j / 2 * 4));
        to[128 + half * 32 + l] |= uint8_t(q >> 4 << (2 * j));
      }
}

// Block by block, so that what is written stays in L1 while 16 rows pass; a whole group would not
// fit (Q8_0, 2048 columns: 34 KiB).
template <PackType T>
static void pack_block_rows(const uint8_t* raw, size_t row_bytes, int rows, int cols, uint8_t* to) {
  constexpr BlockBytes bytes = kTypeInfo[T].block;
  for (int b = 0; b < cols / kBlock; ++b) {
    uint8_t* scales = to + block_scale_at(bytes, b);
    uint8_t* bits = to + block_bits_at(bytes, b);
    const uint8_t* from = raw + size_t(b) * BlockSource<T>::size;
    for (int r = 0; r < rows; ++r, from += row_bytes) pack_block<T>(from, r, scales, bits);
  }
}

template <class Pack>
static void pack_super_rows(PackType type, const uint8_t* raw, size_t row_bytes, int rows, int cols,
                            uint8_t* to, Pack pack) {
  const SuperBytes& bytes = kTypeInfo[type].super;
  const size_t block = row_bytes / size_t(cols / kSuperblock);
  uint8_t* tile = to + head_bytes(bytes, cols);
  for (int sb = 0; sb < superblocks(cols); ++sb, tile += super_bytes(bytes))
    for (int r = 0; r < rows; ++r)
      pack(raw + r * row_bytes + sb * block, r, tile, to + sb * bytes.apart);
}

// Columns of up to 16 rows, element by element: [row][col] to [col][row].
template <class T>
static void transpose(const uint8_t* raw, size_t row_bytes, int rows, int cols, uint8_t* to) {
  constexpr int run = 64 / sizeof(T);  // columns whose bytes fill a cache line of each row
  for (int k = 0; k < cols; k += run) {
    const int end = k + run < cols ? k + run : cols;
    for (int r = 0; r < rows; ++r)
      for (int j = k; j < end; ++j)
        std::memcpy(to + (size_t(j) * kLanes + r) * sizeof(T),
                    raw + r * row_bytes + size_t(j) * sizeof(T), sizeof(T));
  }
}

void pack_group(int source, const uint8_t* raw, size_t row_bytes, int rows, int cols, uint8_t* to) {
  const PackType type = PackType(pack_type_of(source));
  if (rows < kLanes) std::memset(to, 0, group_bytes(type, cols));
  switch (source) {
    case 0: return transpose<uint32_t>(raw, row_bytes, rows, cols, to);
    case 1: case 30: return transpose<uint16_t>(raw, row_bytes, rows, cols, to);
    case 2: return pack_block_rows<kQ4_0>(raw, row_bytes, rows, cols, to);
    case 3: return pack_block_rows<kQ4_1>(raw, row_bytes, rows, cols, to);
    case 6: return pack_block_rows<kQ5_0>(raw, row_bytes, rows, cols, to);
    case 7: return pack_block_rows<kQ5_1>(raw, row_bytes, rows, cols, to);
    case 8: return pack_block_rows<kQ8_0>(raw, row_bytes, rows, cols, to);
    case 20: return pack_block_rows<kIQ4_NL>(raw, row_bytes, rows, cols, to);
    case 39: return pack_block_rows<kMXFP4>(raw, row_bytes, rows, cols, to);
    case 10:
      return pack_super_rows(type, raw, row_bytes, rows, cols, to,
                             [](const uint8_t* b, int r, uint8_t* tile, uint8_t*) {
                               pack_q2_k(b, r, tile);
                             });
    case 11:
      return pack_super_rows(type, raw, row_bytes, rows, cols, to,
                             [](const uint8_t* b, int r, uint8_t* tile, uint8_t* apart) {
                               uint8_t q6[210];
                               q3_k_to_q6_k(b, q6);
                               pack_q6_k(q6, r, tile, apart);
                             });
    case 12:
      return pack_super_rows(type, raw, row_bytes, rows, cols, to,
                             [](const uint8_t* b, int r, uint8_t* tile, uint8_t*) {
                               pack_q4_k(b, r, tile);
                             });
    case 13:
      return pack_super_rows(type, raw, row_bytes, rows, cols, to,
                             [](const uint8_t* b, int r, uint8_t* tile, uint8_t*) {
                               pack_q5_k(b, r, tile);
                             });
    case 14:
      return pack_super_rows(type, raw, row_bytes, rows, cols, to,
                             [](const uint8_t* b, int r, uint8_t* tile, uint8_t* apart) {
                               pack_q6_k(b, r, tile, apart);
                             });
    case 23:
      return pack_super_rows(type, raw, row_bytes, rows, cols, to,
                             [](const uint8_t* b, int r, uint8_t* tile, uint8_t*) {
                               pack_iq4_xs(b, r, tile);
                             });
    default: return;
  }
}

}  // namespace headlong::HEADLONG_ISA
