// Kernels that look through rows of logits, as one table per instruction set.
//
// What they give is exact, or summed in an order that the columns alone decide with additions and
// multiplications kept apart: the same bits on every instruction set.  `survivors` may differ, but
// only in columns that the caller's exact check throws out.
#pragma once

#include <cstdint>

#include "best.hpp"

namespace headlong {

// Keys of the noise at one position (noise.hpp).
struct NoiseKeys {
  uint64_t first, second;
};

// What a column must exceed to win a draw: score (x - peak) / temperature + noise > lead.
struct DrawBound {
  float peak, inverse_temperature, lead;
  NoiseKeys keys;
};

// Bounds of `exp_masses`.
constexpr int kBounds = 4;

// Columns that `survivors` looks at per call: their places fit into L1 beside the logits.
constexpr int kDrawRun = 1024;

struct SamplingKernels {
  // Copies n logits and returns the largest; NaN where NaN or +infinity is among them.  `to` may be
  // null.
  float (*copy)(const float* x, int n, float* to);

  // The largest of n logits without NaN; -infinity where n is 0.
  float (*peak)(const float* x, int n);

  // Offers those of n logits that are above the threshold, as ids first, first + 1, ...
  void (*offer)(const float* x, int n, int32_t first, Best& best);

  // sums[0] += e^(x - peak), over n logits of at most peak; with the mean also
  // sums[1] += e^(x - peak) * (x - peak); with masses also the same sum over logits of at least
  // bounds[j], into sums[1 + j].
  void (*exp_sum)(const float* x, int n, float peak, double* sums);
  void (*exp_mean)(const float* x, int n, float peak, double* sums);
  void (*exp_masses)(const float* x, int n, float peak, const float* bounds, double* sums);

  // Places of the logits of at least `bound`, ascending; returns how many.
  int (*collect)(const float* x, int n, float bound, int32_t* places);

  // Places among n <= kDrawRun columns whose noise may lift them above the lead; ids are ids[i],
  // or first + i where ids is null.  Returns how many.
  int (*survivors)(const float* x, const int32_t* ids, int32_t first, int n, const DrawBound& bound,
                   int32_t* places);
};

}  // namespace headlong
