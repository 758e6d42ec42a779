// What queries and keys go through before they meet: RMSNorm per head, then rotation.
#pragma once

#include "sequence.hpp"
#include "simd.hpp"

namespace headlong::HEADLONG_ISA {

// out = rotate(x * rsqrt(mean(x^2) + eps) * weight) * scale.  Products are rounded before they are
// added, so that the compiler may vectorise the rotation for any number of pairs without changing
// a bit.
static inline void norm_rotate(float* out, const float* x, const float* weight, float eps, int dim,
                               const Rotation& rotation, int row, float scale) {
  f32x16 squares = zero();
  for (int d = 0; d < dim; d += 16) {
    const f32x16 v = load(x + d);
    squares = fma(v, v, squares);
  }
  const float inverse = 1.0f / __builtin_sqrtf(reduce_add(squares) / float(dim) + eps);
  for (int d = 0; d < dim; d += 16)
    store(out + d, mul(mul(load(x + d), splat(inverse)), load(weight + d)));
  const int pairs = rotation.pairs;
  const float* c = rotation.cos + int64_t(row) * pairs;
  const float* s = rotation.sin + int64_t(row) * pairs;
  for (int d = 0; d < pairs; ++d) {
    const float a = out[d], b = out[d + pairs];
    out[d] = a * c[d] - b * s[d];
    out[d + pairs] = a * s[d] + b * c[d];
  }
  if (scale != 1.0f)
    for (int d = 0; d < dim; d += 16) store(out + d, mul(load(out + d), splat(scale)));
}

}  // namespace headlong::HEADLONG_ISA
