// Norms, products with packed matrices and what is fused with them, on all threads of a backend.
//
// Arguments are checked by the caller (bind_linear.cpp).  Rows are worked off in blocks of at most
// kRowBlock, which bounds the scratch memory; results do not depend on the blocks.
#pragma once

#include <cstdint>

#include "backend.hpp"
#include "packed.hpp"

namespace headlong {

constexpr int kRowBlock = 512;

struct Output {
  const Packed* weight;
  float* out;             // [rows, weight->rows]
  const float* residual;  // same shape, may be out; or null
};

// x [rows, cols], optionally normalised by RMS norm with `norm` [cols] first (null: not), times
// each weight.
void linear(Backend& backend, const float* x, int rows, int cols, const float* norm, float eps,
            const Output* outputs, int count);

// out = x + down(silu(gate(n)) * up(n)), n = RMS norm of x; out may be x.
void ffn(Backend& backend, const float* x, int rows, const float* norm, float eps,
         const Packed& gate, const Packed& up, const Packed& down, float* out);

void rms_norm(Backend& backend, const float* x, int rows, int cols, const float* weight, float eps,
              float* out);

// out [rows, 2 cols]: RMS norm of a, then of b.
void norm_join(Backend& backend, const float* a, const float* a_weight, const float* b,
               const float* b_weight, int rows, int cols, float eps, float* out);

void unpack_rows(Backend& backend, const Packed& weight, const int32_t* ids, int count, float* out);

void argmax_rows(Backend& backend, const float* x, int rows, int cols, int32_t* index,
                 float* value);

// Packs `rows` rows of GGUF blocks as rows first.. of the matrix; first is a multiple of 16.
void fill(Backend& backend, Packed& packed, const uint8_t* raw, int first, int rows);

// Bytes per second, in GB, that a plain loop over `bytes` bytes reads with all threads: the best of
// `repeats` sweeps.
double read_bandwidth(Backend& backend, size_t bytes, int repeats);

}  // namespace headlong
