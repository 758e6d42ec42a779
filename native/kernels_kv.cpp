// Keys and values of new rows into the pages of the cache.
#include "heads.hpp"

namespace headlong::HEADLONG_ISA {

namespace {

void store_f16_head(uint16_t* to, const float* x, int dim) {
  for (int d = 0; d < dim; d += 16) store_f16(to + d, load(x + d));
}

// Blocks of 32 as the GGUF type Q8_0 has them: round(x * 127 / max|x|), scale max|x| / 127.  A
// block with NaN or infinity in it gets the scale NaN.
void store_q8_head(int8_t* to, uint16_t* scale, const float* x, int dim) {
  for (int d = 0; d < dim; d += kScaleBlock) {
    float high = 0.0f;
    bool finite = true;
    for (int i = 0; i < kScaleBlock; ++i) {
      const float magnitude = __builtin_fabsf(x[d + i]);
      high = magnitude > high ? magnitude : high;
      finite &= magnitude <= __FLT_MAX__;
    }
    // Below 1e-30 the scale is zero in f16, and 127 / high need not be finite.
    const float inverse = finite && high > 1e-30f ? 127.0f / high : 0.0f;
    for (int i = 0; i < kScaleBlock; i += 16) {
      alignas(64) float rounded[16];
      store(rounded, round(mul(load(x + d + i), splat(inverse))));
      for (int j = 0; j < 16; ++j) to[d + i + j] = finite ? int8_t(rounded[j]) : int8_t(0);
    }
    alignas(64) uint16_t half[16];
    store_f16(half, splat(finite ? high / 127.0f : __builtin_nanf("")));
    scale[d / kScaleBlock] = half[0];
  }
}

void store_head(const KvCache& cache, void* data, uint16_t* scale, int64_t cell, const float* x) {
  if (scale == nullptr)
    store_f16_head(static_cast<uint16_t*>(data) + cell * cache.dim, x, cache.dim);
  else
    store_q8_head(static_cast<int8_t*>(data) + cell * cache.dim,
                  scale + cell * (cache.dim / kScaleBlock), x, cache.dim);
}

}  // namespace

void kv_store(const KvStore& a, int segment, int first, int rows) {
  const KvCache& cache = a.cache;
  const int dim = cache.dim;
  alignas(64) float key[512];
  for (int r = first; r < first + rows; ++r) {
    const int row = a.segments.row_start[segment] + r;
    const int position = a.segments.pos_start[segment] + r;
    const int64_t page =
        a.segments.page_table[int64_t(segment) * a.segments.max_pages + position / kPageRows];
    for (int h = 0; h < cache.heads; ++h) {
      const int64_t cell = (page * cache.heads + h) * kPageRows + position % kPageRows;
      const float* k = a.k + (int64_t(row) * cache.heads + h) * dim;
      const float* v = a.v + (int64_t(row) * cache.heads + h) * dim;
      norm_rotate(key, k, a.k_norm, a.eps, dim, a.rotation, row, 1.0f);
      store_head(cache, cache.k, cache.k_scale, cell, key);
      store_head(cache, cache.v, cache.v_scale, cell, v);
    }
  }
}

}  // namespace headlong::HEADLONG_ISA
