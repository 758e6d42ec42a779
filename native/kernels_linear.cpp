// The table of linear kernels, and products of whole row groups with whole chunks of rows.
#include "linear.hpp"

#include "activations.hpp"
#include "pack.hpp"
#include "products.hpp"

namespace headlong::HEADLONG_ISA {

static GroupProduct product_of(PackType type, int rows) {
  if (kTypeInfo[type].floating) return float_product(type, rows);
  return kTypeInfo[type].super.low ? super_product(type, rows) : block_product(type, rows);
}

// The rows of chunk `first` / kChunk in the form that `type` reads.
static const void* chunk_of(const Activations& x, PackType type, int first) {
  if (kTypeInfo[type].floating) return x.floats + size_t(first) * x.cols;
  return x.quantised + size_t(first) * superblocks(x.cols) * kWords;
}

// Lanes of group g that are rows of the matrix.
static int lanes_of(const Groups& w, int group) {
  const int left = w.rows - group * kLanes;
  return left < kLanes ? left : kLanes;
}

// A chunk of rows stays in L1 or L2 while the groups stream past it; the caller bounds the groups
// so that they stay in L2 from one chunk to the next.
static void multiply_groups(const Groups& w, const Activations& x, const float* residual,
                            float* out, ptrdiff_t stride) {
  const size_t bytes = group_bytes(w.type, w.cols);
  for (int first = 0; first < x.rows; first += kChunk) {
    const int n = x.rows - first < kChunk ? x.rows - first : kChunk;
    const GroupProduct product = product_of(w.type, n);
    const void* rows = chunk_of(x, w.type, first);
    for (int g = w.first; g < w.first + w.count; ++g) {
      alignas(64) float sums[kChunk][kLanes];
      product(w.data + size_t(g) * bytes, w.cols, rows, sums);
      const int lanes = lanes_of(w, g);
      for (int i = 0; i < n; ++i) {
        const ptrdiff_t at = (first + i) * stride + ptrdiff_t(g) * kLanes;
        if (lanes == kLanes) {
          const f32x16 y = load(sums[i]);
          store(out + at, residual ? add(load(residual + at), y) : y);
        } else {
          for (int r = 0; r < lanes; ++r)
            out[at + r] = residual ? residual[at + r] + sums[i][r] : sums[i][r];
        }
      }
    }
  }
}

static void multiply_gated_groups(const Groups& gate, const Groups& up, const Activations& x,
                                  float* out, ptrdiff_t stride) {
  const size_t gate_bytes = group_bytes(gate.type, gate.cols);
  const size_t up_bytes = group_bytes(up.type, up.cols);
  for (int first = 0; first < x.rows; first += kChunk) {
    const int n = x.rows - first < kChunk ? x.rows - first : kChunk;
    const GroupProduct gate_product = product_of(gate.type, n), up_product = product_of(up.type, n);
    const void* gate_rows = chunk_of(x, gate.type, first);
    const void* up_rows = chunk_of(x, up.type, first);
    for (int g = gate.first; g < gate.first + gate.count; ++g) {
      alignas(64) float a[kChunk][kLanes], b[kChunk][kLanes];
      gate_product(gate.data + size_t(g) * gate_bytes, gate.cols, gate_rows, a);
      up_product(up.data + size_t(g) * up_bytes, up.cols, up_rows, b);
      const int lanes = lanes_of(gate, g);
      for (int i = 0; i < n; ++i) {
        store(a[i], mul(silu(load(a[i])), load(b[i])));
        std::memcpy(out + (first + i) * stride + ptrdiff_t(g) * kLanes, a[i],
                    size_t(lanes) * sizeof(float));
      }
    }
  }
}

// Eight independent sums: as many reads in flight as the core allows.
static uint64_t read_all(const uint8_t* data, size_t bytes) {
  V sums[8];
  for (V& s : sums) s = zero_int();
  for (const uint8_t* end = data + bytes; data < end; data += 512) {
    HEADLONG_UNROLL
    for (int j = 0; j < 8; ++j) {
      sums[j] = add_int(sums[j], load_quad<0>(data + 64 * j));
      if constexpr (kParts == 2) sums[j] = add_int(sums[j], load_quad<1>(data + 64 * j));
    }
  }
  for (int j = 1; j < 8; ++j) sums[0] = add_int(sums[0], sums[j]);
  uint64_t total;
  std::memcpy(&total, &sums[0], sizeof total);
  return total;
}

extern const LinearKernels linear_kernels;
const LinearKernels linear_kernels{
    kChunk, rms_norm_rows, quantise_rows, multiply_groups, multiply_gated_groups, argmax_row,
    read_all, pack_group, unpack_row,
};

}  // namespace headlong::HEADLONG_ISA
