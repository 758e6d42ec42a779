// RMS norm, the quantisation of activations, and arg-max.
#include "activations.hpp"
#include "lanes.hpp"

namespace headlong::HEADLONG_ISA {

// 1 / sqrt(mean of squares + eps).  Four sums of 16 lanes over runs of 64 columns, then runs of 16
// into the first sum, then single columns: an order that only `cols` decides.
static float rms_scale(const float* x, int cols, float eps) {
  f32x16 s0 = zero(), s1 = zero(), s2 = zero(), s3 = zero();
  int k = 0;
  for (; k + 64 <= cols; k += 64) {
    const f32x16 a = load(x + k), b = load(x + k + 16), c = load(x + k + 32), d = load(x + k + 48);
    s0 = fma(a, a, s0);
    s1 = fma(b, b, s1);
    s2 = fma(c, c, s2);
    s3 = fma(d, d, s3);
  }
  for (; k + 16 <= cols; k += 16) {
    const f32x16 a = load(x + k);
    s0 = fma(a, a, s0);
  }
  float sum = reduce_add(add(add(s0, s1), add(s2, s3)));
  for (; k < cols; ++k) sum += x[k] * x[k];
  return 1.0f / __builtin_sqrtf(sum / float(cols) + eps);
}

// to[0..count) = x * scale * weight, the product in this order for every column; a copy of x where
// weight is null.
static void normalise(const float* x, int count, float scale, const float* weight, float* to) {
  if (!weight) {
    std::memcpy(to, x, size_t(count) * sizeof(float));
    return;
  }
  const f32x16 s = splat(scale);
  int k = 0;
  for (; k + 16 <= count; k += 16) store(to + k, mul(mul(load(x + k), s), load(weight + k)));
  for (; k < count; ++k) to[k] = x[k] * scale * weight[k];
}

void rms_norm_rows(const float* x, int rows, int cols, const float* weight, float eps, float* out) {
  for (int r = 0; r < rows; ++r, x += cols, out += cols)
    normalise(x, cols, rms_scale(x, cols, eps), weight, out);
}

// to[0..16) = a as bytes; lanes are integral and within -127..127
static inline void store_bytes(int8_t* to, f32x16 a) {
#if defined(__AVX512F__)
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to),
                   _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(a.v)));
#elif defined(__AVX2__)
  const __m256i w = _mm256_packs_epi32(_mm256_cvtps_epi32(a.lo), _mm256_cvtps_epi32(a.hi));
  const __m256i ordered = _mm256_permute4x64_epi64(w, 0xd8);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to),
                   _mm_packs_epi16(_mm256_castsi256_si128(ordered),
                                   _mm256_extracti128_si256(ordered, 1)));
#else
  for (int i = 0; i < 16; ++i) to[i] = int8_t(int32_t(a.v[i]));
#endif
}

static inline int32_t pair_of(int32_t low, int32_t high) {
  return int32_t(uint32_t(low & 0xffff) | uint32_t(high) << 16);
}

// Writes the quantised form (layout.hpp) of one row and superblock; words of a row lie n apart.
static void quantise(const float* x, int32_t* to, int n) {
  f32x16 largest = zero(), poison = zero();
  for (int k = 0; k < kSuperblock; k += 16) {
    const f32x16 a = load(x + k);
    largest = max(largest, abs(a));
    poison = fma(a, zero(), poison);  // NaN once an input is not finite
  }
  const float amax = reduce_max(largest), bad = reduce_add(poison);
  // 127 / amax is infinite below 127 / FLT_MAX = 3.7e-37: such a superblock counts as zero.
  const bool usable = amax > 4e-37f && bad == 0.0f;
  int8_t q[kSuperblock];
  const f32x16 inverse = splat(usable ? 127.0f / amax : 0.0f);
  if (usable) {
    for (int k = 0; k < kSuperblock; k += 16) store_bytes(q + k, round(mul(load(x + k), inverse)));
  } else {
    std::memset(q, 0, sizeof q);
  }
  for (int g = 0; g < 64; ++g) std::memcpy(to + (activation::kQuad + g) * n, q + 4 * g, 4);
  int32_t sum16[16], sum32[8];
  for (int b = 0; b < 16; ++b) {
    int32_t sum = 0;
    for (int j = 0; j < 16; ++j) sum += q[16 * b + j];
    sum16[b] = sum;
    to[(activation::kInit16 + b) * n] = -32 * sum;
  }
  for (int b = 0; b < 8; ++b) {
    sum32[b] = sum16[2 * b] + sum16[2 * b + 1];
    const float as_float = float(sum32[b]);
    to[(activation::kInit32 + b) * n] = -128 * sum32[b];
    to[(activation::kPair16 + b) * n] = pair_of(sum16[2 * b], sum16[2 * b + 1]);
    std::memcpy(to + (activation::kSum32 + b) * n, &as_float, 4);
  }
  for (int b = 0; b < 4; ++b)
    to[(activation::kPair32 + b) * n] = pair_of(sum32[2 * b], sum32[2 * b + 1]);
  const float scale = bad != 0.0f ? __builtin_nanf("") : usable ? amax / 127.0f : 0.0f;
  std::memcpy(to + activation::kScale * n, &scale, 4);
}

void prepare_rows(const float* x, const float* norm, float eps, const Activations& to, int first,
                  int rows) {
  const int cols = to.cols;
  for (int chunk = first; chunk < first + rows; chunk += kChunk) {
    const int left = to.rows - chunk;
    const int n = left < kChunk ? left : kChunk;
    for (int i = 0; i < n; ++i) {
      const float* row = x + size_t(chunk + i) * cols;
      const float scale = norm ? rms_scale(row, cols, eps) : 1.0f;
      for (int sb = 0; sb < superblocks(cols); ++sb) {
        const int at = sb * kSuperblock;
        const int count = cols - at < kSuperblock ? cols - at : kSuperblock;
        alignas(64) float y[kSuperblock];
        normalise(row + at, count, scale, norm ? norm + at : nullptr, y);
        if (to.floats) {
          float* f = to.floats + size_t(chunk) * cols + size_t(at) * n + i;
          for (int k = 0; k < count; ++k) f[size_t(k) * n] = y[k];
        }
        if (to.quantised) {
          std::memset(y + count, 0, size_t(kSuperblock - count) * sizeof(float));
          const size_t chunk_at = size_t(chunk) * superblocks(cols) * activation::kWords;
          quantise(y, to.quantised + chunk_at + size_t(sb) * activation::kWords * n + i, n);
        }
      }
    }
  }
}

void argmax_row(const float* x, int n, int32_t* index, float* value) {
  // max(a, best) keeps best where a is NaN: the second operand, on every instruction set.
  f32x16 best = splat(-__builtin_inff());
  int k = 0;
  for (; k + 16 <= n; k += 16) best = max(load(x + k), best);
  float top = reduce_max(best);
  for (; k < n; ++k) top = x[k] > top ? x[k] : top;
  for (k = 0; k < n; ++k)
    if (x[k] == top) {
      *index = k;
      *value = top;
      return;
    }
  *index = 0;  // nothing but NaN
  *value = __builtin_nanf("");
}

}  // namespace headlong::HEADLONG_ISA
