// What kernels_activations.cpp gives to the table of linear kernels (linear.hpp).
#pragma once

#include "linear.hpp"

namespace headlong::HEADLONG_ISA {

void rms_norm_rows(const float* x, int rows, int cols, const float* weight, float eps, float* out);
void prepare_rows(const float* x, const float* norm, float eps, const Activations& to, int first,
                  int rows);
void argmax_row(const float* x, int n, int32_t* index, float* value);

}  // namespace headlong::HEADLONG_ISA
