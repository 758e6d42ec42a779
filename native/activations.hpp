// What kernels_activations.cpp gives to the table of linear kernels (linear.hpp).
#pragma once

#include "linear.hpp"

namespace headlong::HEADLONG_ISA {

void rms_norm_rows(const float* x, int rows, int cols, const float* weight, float eps, float* out);
void quantise_rows(const float* x, const float* norm, float eps, int total, int cols, int first,
                   int rows, int32_t* to);
void argmax_row(const float* x, int n, int32_t* index, float* value);

}  // namespace headlong::HEADLONG_ISA
