// Products with weights stored as floats, activations as they are.
#include "products.hpp"

namespace headlong::HEADLONG_ISA {

struct WeightF32 {
  static constexpr int kBytes = 64;  // of one column of a group
  static constexpr int kPrefetchFrom = 5;
  template <int P>
  HEADLONG_INLINE F load(const uint8_t* p) {
    return load_single<P>(p);
  }
};
struct WeightF16 {
  static constexpr int kBytes = 32, kPrefetchFrom = 3;
  template <int P>
  HEADLONG_INLINE F load(const uint8_t* p) {
    return load_half<P>(p);
  }
};
struct WeightBF16 {
  static constexpr int kBytes = 32, kPrefetchFrom = 3;
  template <int P>
  HEADLONG_INLINE F load(const uint8_t* p) {
    return load_bfloat<P>(p);
  }
};

// Two sums per row: with a latency of 4 cycles one row reads 32 bytes of weights per cycle, more
// than any memory gives; and at 8 rows the 16 sums still fit the registers.
template <class Q, int N, int P>
HEADLONG_INLINE void float_step(const uint8_t* w, int count, const float* x, ptrdiff_t stride,
                                F (&even)[N], F (&odd)[N]) {
  int k = 0;
  for (; k + 1 < count; k += 2, w += 2 * Q::kBytes) {
    if constexpr (P == 0) prefetch_weights<Q, N>(w, 2 * Q::kBytes);
    const F w0 = Q::template load<P>(w);
    HEADLONG_UNROLL
    for (int i = 0; i < N; ++i) even[i] = fused(w0, broadcast(x + i * stride + k), even[i]);
    const F w1 = Q::template load<P>(w + Q::kBytes);
    HEADLONG_UNROLL
    for (int i = 0; i < N; ++i) odd[i] = fused(w1, broadcast(x + i * stride + k + 1), odd[i]);
  }
  if (k < count) {
    const F w0 = Q::template load<P>(w);
    HEADLONG_UNROLL
    for (int i = 0; i < N; ++i) even[i] = fused(w0, broadcast(x + i * stride + k), even[i]);
  }
}

template <class Q, int N>
static void float_group(const uint8_t* group, int cols, const void* rows,
                        float (*sums)[kLanes]) {
  // Where lanes come in parts, they take turns every 128 columns: 8 KiB at most, still in L1.
  const int run = kParts == 1 ? cols : 128;
  const float* x = static_cast<const float*>(rows);
  Sums<N> even, odd;
  clear(even);
  clear(odd);
  for (int k = 0; k < cols; k += run) {
    const uint8_t* w = group + size_t(k) * Q::kBytes;
    const int count = cols - k < run ? cols - k : run;
    float_step<Q, N, 0>(w, count, x + k, cols, even.part[0], odd.part[0]);
    if constexpr (kParts == 2)
      float_step<Q, N, 1>(w, count, x + k, cols, even.part[1], odd.part[1]);
  }
  HEADLONG_UNROLL
  for (int p = 0; p < kParts; ++p) {
    HEADLONG_UNROLL
    for (int i = 0; i < N; ++i) even.part[p][i] = add_float(even.part[p][i], odd.part[p][i]);
  }
  store_sums(even, sums);
}

template <class Q>
static GroupProduct instance(int rows) {
  return for_rows(rows, []<int N>(Rows<N>) -> GroupProduct { return float_group<Q, N>; });
}

GroupProduct float_product(PackType type, int rows) {
  switch (type) {
    case kF32: return instance<WeightF32>(rows);
    case kF16: return instance<WeightF16>(rows);
    case kBF16: return instance<WeightBF16>(rows);
    default: return nullptr;
  }
}

}  // namespace headlong::HEADLONG_ISA
