// Kernels of matrix products, norms and the packed weight layout, as one table per instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

#include "layout.hpp"

namespace headlong {

// Activation rows in the forms the kernels read: quantised (words of activation::, chunks of up to
// chunk_rows rows, in a chunk superblock by superblock, in a superblock row by row) or as they are
// ([rows, cols]).  A matrix reads the form its type needs; the other may be null.
struct Activations {
  int rows, cols;
  int32_t* quantised;
  const float* floats;
};

// Weights of consecutive row groups of one packed matrix.
struct Groups {
  PackType type;
  int cols;
  int rows;  // of the matrix: the last group may be partly padding
  int first, count;
  const uint8_t* data;  // of group 0
};

struct LinearKernels {
  int chunk_rows;  // activation rows that a kernel multiplies at a time

  // out[r] = x[r] / sqrt(mean(x[r]^2) + eps) * weight, rows of `cols` floats.
  void (*rms_norm)(const float* x, int rows, int cols, const float* weight, float eps, float* out);

  // Quantises rows [first, first + rows) of x [total, cols] into `to`, first a multiple of
  // chunk_rows; normalised by rms_norm first where norm is not null.
  void (*quantise)(const float* x, const float* norm, float eps, int total, int cols, int first,
                   int rows, int32_t* to);

  // out[t][row] = (residual ? residual[t][row] : 0) + sum over k of x[t][k] * w[row][k], for the
  // rows of the groups; t-th row of out and residual at t * stride.
  void (*multiply)(const Groups& w, const Activations& x, const float* residual, float* out,
                   ptrdiff_t stride);

  // out[t][row] = silu(gate . x) * (up . x); gate and up name the same groups of two matrices.
  void (*multiply_gated)(const Groups& gate, const Groups& up, const Activations& x, float* out,
                         ptrdiff_t stride);

  // Largest value and the lowest index that holds it; NaN never wins (index 0 and NaN where there
  // is nothing else).
  void (*argmax)(const float* x, int n, int32_t* index, float* value);

  // Sum of the words of `bytes` bytes (a multiple of 512, aligned to 64): what reading alone costs.
  uint64_t (*read)(const uint8_t* data, size_t bytes);

  // Packs one group from `rows` (1..16) rows of GGUF blocks; missing rows become zero.  `source` is
  // the ggml type id of the rows.
  void (*pack)(int source, const uint8_t* raw, size_t row_bytes, int rows, int cols, uint8_t* to);

  // Dequantises one row of a group, exactly as GGUF defines the type.
  void (*unpack)(PackType type, const uint8_t* group, int lane, int cols, float* to);
};

// The packed type of a ggml type id, or -1; and the bytes of a row of that type in a file.
int pack_type_of(int source);
const char* source_name(int source);
size_t source_row_bytes(int source, int cols);
int source_cols_multiple(int source);

}  // namespace headlong
