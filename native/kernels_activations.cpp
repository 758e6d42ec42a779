// RMS norm, the quantisation of activations, and arg-max.
#include "activations.hpp"
#include "columns.hpp"
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

// The words (layout.hpp) of one row and superblock.
static inline void quantise(const float* x, int32_t* to) {
  const uint32_t bits = largest_magnitude(x);
  float amax;
  std::memcpy(&amax, &bits, 4);
  const bool finite = bits < 0x7f800000u;
  // 127 / amax is infinite below 127 / FLT_MAX = 3.7e-37: such a superblock counts as zero.
  const bool usable = finite && amax > 4e-37f;
  const float scale = !finite ? __builtin_nanf("") : usable ? amax / 127.0f : 0.0f;
  std::memcpy(to + activation::kScale, &scale, sizeof scale);
  if (usable) {
    quantise_columns(x, 127.0f / amax, to);
  } else {
    std::memset(to, 0, activation::kScale * sizeof(int32_t));
  }
}

void quantise_rows(const float* x, const float* norm, float eps, int total, int cols, int first,
                   int rows, int32_t* to) {
  const int count = superblocks(cols);
  for (int chunk = first; chunk < first + rows; chunk += kChunk) {
    const int n = total - chunk < kChunk ? total - chunk : kChunk;
    int32_t* chunk_to = to + size_t(chunk) * count * kWords;
    for (int i = 0; i < n; ++i) {
      const float* row = x + size_t(chunk + i) * cols;
      const float scale = norm ? rms_scale(row, cols, eps) : 1.0f;
      for (int sb = 0; sb < count; ++sb) {
        const int at = sb * kSuperblock;
        const int width = cols - at < kSuperblock ? cols - at : kSuperblock;
        int32_t* words = chunk_to + (size_t(sb) * n + i) * kWords;
        if (!norm && width == kSuperblock) {
          quantise(row + at, words);
          continue;
        }
        alignas(64) float y[kSuperblock];
        normalise(row + at, width, scale, norm ? norm + at : nullptr, y);
        std::memset(y + width, 0, size_t(kSuperblock - width) * sizeof(float));
        quantise(y, words);
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
