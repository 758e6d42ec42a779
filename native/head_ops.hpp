// The LM head when only the best of its logits are wanted: no row of logits is ever written.
#pragma once

#include <cstdint>

#include "backend.hpp"
#include "packed.hpp"

namespace headlong {

struct HeadRows {
  const float* x;  // [rows, cols of the weight]
  int rows;
  int k;                   // logits wanted of each row
  const uint8_t* allowed;  // bit i, from the lowest of byte 0: output i may be returned; null: all
  float* values;           // [rows, k], best first; -infinity where there are fewer
  int32_t* ids;            // [rows, k]; -1 there
  double* log_sums;        // [rows]: log(sum of e^logit) over what is allowed; null: not wanted
};

// The logits have the bits that `linear` would give them.  Of equal ones the lower id comes first;
// NaN comes before all numbers, and NaN and +infinity are returned even where they are not allowed.
void best_rows(Backend& backend, const Packed& weight, const HeadRows& head);

}  // namespace headlong
