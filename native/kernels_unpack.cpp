// From the packed layout back to one row of floats, by the formulas of the GGUF types: embeddings
// are looked up in the same matrix that the output head multiplies by.
#include <cstring>

#include "pack.hpp"
#include "simd.hpp"

namespace headlong::HEADLONG_ISA {

static float half_at(const uint8_t* p) {
  uint16_t h[16] = {};
  float f[16];
  std::memcpy(h, p, 2);
  store(f, load_f16(h));
  return f[0];
}
static inline uint32_t lane_word(const uint8_t* plane, int quad, int lane) {
  uint32_t w;
  std::memcpy(&w, plane + quad * 64 + lane * 4, 4);
  return w;
}
static inline int byte_of(uint32_t word, int i) { return int(word >> (8 * i) & 255u); }

constexpr int8_t kNonlinearValues[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                         1,    13,   25,  38,  53,  69,  89,  113};
constexpr int8_t kE2M1Values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

static float e8m0_half(uint8_t e) {  // 2^(e - 128)
  const uint32_t bits = e < 2 ? 0x00200000u << e : uint32_t(e - 1) << 23;
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}

// 4 bits of column c of a block of 32
static int nibble(const uint8_t* low, int c, int lane) {
  const int byte = byte_of(lane_word(low, c % 16 / 4, lane), c % 4);
  return c < 16 ? byte & 15 : byte >> 4;
}

static void unpack_blocks(PackType type, const uint8_t* group, int blocks, int lane, float* to) {
  const BlockBytes& bytes = kTypeInfo[type].block;
  for (int b = 0; b < blocks; ++b) {
    const uint8_t* scales = group + block_scale_at(bytes, b);
    const uint8_t* high = group + block_bits_at(bytes, b);
    const uint8_t* low = high + bytes.high;
    const float d = type == kMXFP4 ? e8m0_half(scales[lane]) : half_at(scales + lane * 2);
    const float m = bytes.scale == 64 ? half_at(scales + 32 + lane * 2) : 0.0f;
    for (int c = 0; c < kBlock; ++c) {
      const int fifth =
          bytes.high ? (byte_of(lane_word(high, 0, lane), c % 4) >> (c / 4) & 1) << 4 : 0;
      int q = 0;
      switch (type) {
        case kQ8_0: q = byte_of(lane_word(low, c / 4, lane), c % 4) - 128; break;
        case kQ4_0: q = nibble(low, c, lane) - 8; break;
        case kQ4_1: q = nibble(low, c, lane); break;
        case kQ5_0: q = (nibble(low, c, lane) | fifth) - 16; break;
        case kQ5_1: q = nibble(low, c, lane) | fifth; break;
        case kIQ4_NL: q = kNonlinearValues[nibble(low, c, lane)]; break;
        default: q = kE2M1Values[nibble(low, c, lane)]; break;
      }
      *to++ = bytes.scale == 64 ? d * float(q) + m : d * float(q);
    }
  }
}

// Q4_K, Q5_K: d * scale * q - dmin * minimum
static void unpack_six_bit(PackType type, const uint8_t* tile, int lane, float* to) {
  const uint32_t x = lane_word(tile, 0, lane), y = lane_word(tile, 1, lane);
  const uint32_t z = lane_word(tile, 2, lane);
  const float d = half_at(tile + 192 + lane * 2), dmin = half_at(tile + 224 + lane * 2);
  for (int b = 0; b < 8; ++b) {
    const int half = b % 2 * 16;
    const uint32_t mins = (b < 4 ? x : y) >> half, zh = z >> half;
    const uint32_t minimum = mins >> (b % 4 / 2 * 6) & 63;
    const uint32_t scale =
        b < 4 ? zh >> (b / 2 * 6) & 63
              : ((b < 6 ? x : y) >> (half + 12) & 15) | (zh >> (b < 6 ? 12 : 14) & 3) << 4;
    const float d1 = d * float(scale), m1 = dmin * float(minimum);
    for (int c = 0; c < kBlock; ++c) {
      const int l = c / 4;
      const int quad = type == kQ4_K ? b / 2 * 8 + l : b < 2 ? 2 * l + 1 : 8 + b / 2 * 8 + l;
      const int byte = byte_of(lane_word(tile + 256, quad, lane), c % 4);
      int q = b % 2 ? byte >> 4 : byte & 15;
      if (type == kQ5_K)
        q |= (byte_of(lane_word(tile + 256, 2 * l, lane), c % 4) >> b & 1) << 4;
      *to++ = d1 * float(q) - m1;
    }
  }
}

static void unpack_q6_k(const uint8_t* tile, float d, int lane, float* to) {
  for (int b = 0; b < 16; ++b) {
    const int j = b % 8 / 2;
    const uint8_t* half = tile + 256 + b / 8 * 24 * 64;
    const float scaled = d * float(int8_t(tile[b * 16 + lane]));
    for (int c = 0; c < 16; ++c) {
      const int l = b % 2 * 4 + c / 4;
      const int low = byte_of(lane_word(half, j % 2 ? 16 + l : 2 * l + 1, lane), c % 4);
      const int high = byte_of(lane_word(half, 2 * l, lane), c % 4);
      const int q = (j < 2 ? low & 15 : low >> 4) | (high >> (2 * j) & 3) << 4;
      *to++ = scaled * float(q - 32);
    }
  }
}

static void unpack_q2_k(const uint8_t* tile, int lane, float* to) {
  const float d = half_at(tile + 256 + lane * 2), dmin = half_at(tile + 288 + lane * 2);
  for (int b = 0; b < 16; ++b) {
    const uint8_t both = tile[b / 2 * 32 + lane * 2 + b % 2];
    const float d1 = d * float(both & 15), m1 = dmin * float(both >> 4);
    for (int c = 0; c < 16; ++c) {
      const int byte =
          byte_of(lane_word(tile + 320, b / 8 * 8 + b % 2 * 4 + c / 4, lane), c % 4);
      *to++ = d1 * float(byte >> (b % 8 / 2 * 2) & 3) - m1;
    }
  }
}

static void unpack_iq4_xs(const uint8_t* tile, int lane, float* to) {
  const float d = half_at(tile + 96 + lane * 2);
  const uint32_t lows = lane_word(tile, 0, lane);
  const uint32_t highs = uint32_t(tile[64 + lane * 2]) | uint32_t(tile[65 + lane * 2]) << 8;
  for (int b = 0; b < 8; ++b) {
    const uint32_t scale = (lows >> (4 * b) & 15) | (highs >> (2 * b) & 3) << 4;
    const float scaled = d * float(int(scale) - 32);
    for (int c = 0; c < kBlock; ++c)
      *to++ = scaled * float(kNonlinearValues[nibble(tile + 128 + b * 256, c, lane)]);
  }
}

// One row of a matrix of floats: elements lie 16 apart.
static void unpack_floats(PackType type, const uint8_t* group, int lane, int cols, float* to) {
  if (type == kF32) {
    const uint8_t* column = group + lane * 4;
    for (int k = 0; k < cols; ++k, column += 64) std::memcpy(to + k, column, 4);
    return;
  }
  for (int k = 0; k < cols; k += 16) {
    const int count = cols - k < 16 ? cols - k : 16;
    uint16_t narrow[16] = {};
    for (int j = 0; j < count; ++j)
      std::memcpy(narrow + j, group + (size_t(k + j) * kLanes + size_t(lane)) * 2, 2);
    float wide[16];
    store(wide, type == kF16 ? load_f16(narrow) : load_bf16(narrow));
    std::memcpy(to + k, wide, size_t(count) * sizeof(float));
  }
}

void unpack_row(PackType type, const uint8_t* group, int lane, int cols, float* to) {
  const TypeInfo& info = kTypeInfo[type];
  if (info.floating) return unpack_floats(type, group, lane, cols, to);
  if (!info.super.low) return unpack_blocks(type, group, cols / kBlock, lane, to);
  const uint8_t* tile = group + head_bytes(info.super, cols);
  for (int sb = 0; sb < superblocks(cols); ++sb, to += kSuperblock) {
    switch (type) {
      case kQ6_K: unpack_q6_k(tile, half_at(group + sb * 32 + lane * 2), lane, to); break;
      case kQ2_K: unpack_q2_k(tile, lane, to); break;
      case kIQ4_XS: unpack_iq4_xs(tile, lane, to); break;
      default: unpack_six_bit(type, tile, lane, to); break;
    }
    tile += super_bytes(info.super);
  }
}

}  // namespace headlong::HEADLONG_ISA
