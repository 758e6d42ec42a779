// Causal attention over the paged KV cache.
//
// Every float sum has an order that depends only on absolute positions: within a page scores are
// dot products over dims and values are added position by position; pages follow each other inside
// a chunk of 512 positions with an online softmax that starts afresh in each chunk; chunks are
// merged in order.  Rows, heads and threads share out the work without changing any of that.
#include "heads.hpp"

namespace headlong::HEADLONG_ISA {

namespace {

// Heads and positions (or vectors of dims) worked on together: 4 x 4 accumulators leave room for
// operands in 32 zmm registers; with AVX2 a vector is two of 16 ymm registers.
#if defined(__AVX512F__)
constexpr int kHeads = 4;
constexpr int kWide = 4;
#else
constexpr int kHeads = 2;
constexpr int kWide = 2;
#endif

float minus_infinity() { return -__builtin_inff(); }
float exp1(float x) {
  alignas(64) float t[16];
  store(t, exp(splat(x)));
  return t[0];
}

// A page of one KV head.
struct PageF16 {
  const uint16_t* data;
  int dim;
  f32x16 at(int position, int d) const { return load_f16(data + int64_t(position) * dim + d); }
};

struct PageQ8 {
  const int8_t* data;
  const uint16_t* scale;
  int dim;
  f32x16 at(int position, int d) const {
    const int64_t i = int64_t(position) * dim + d;
    return mul(load_i8(data + i), splat_f16(scale + i / kScaleBlock));
  }
};

PageF16 open_page(const KvCache& c, const void* data, const uint16_t*, int64_t cell, PageF16*) {
  return {static_cast<const uint16_t*>(data) + cell * c.dim, c.dim};
}
PageQ8 open_page(const KvCache& c, const void* data, const uint16_t* scale, int64_t cell, PageQ8*) {
  return {static_cast<const int8_t*>(data) + cell * c.dim, scale + cell * (c.dim / kScaleBlock),
          c.dim};
}

// scores[h][p] = q_h . key p for p < limit.  Positions are taken kWide at a time; the last group
// reaches back to the last valid position rather than touch cells that hold nothing yet.
template <int H, class Page>
void score_heads(const float* q, const Page& keys, int dim, int limit, float* scores) {
  for (int p = 0; p < limit; p += kWide) {
    int at[kWide];
    for (int i = 0; i < kWide; ++i) at[i] = p + i < limit ? p + i : limit - 1;
    f32x16 sum[H][kWide];
    for (int h = 0; h < H; ++h)
      for (int i = 0; i < kWide; ++i) sum[h][i] = zero();
    for (int d = 0; d < dim; d += 16) {
      f32x16 key[kWide];
      for (int i = 0; i < kWide; ++i) key[i] = keys.at(at[i], d);
      for (int h = 0; h < H; ++h) {
        const f32x16 x = load(q + h * dim + d);
        for (int i = 0; i < kWide; ++i) sum[h][i] = fma(x, key[i], sum[h][i]);
      }
    }
    for (int h = 0; h < H; ++h)
      for (int i = 0; i < kWide; ++i) scores[h * kPageRows + p + i] = reduce_add(sum[h][i]);
  }
}

// o_h[d] = o_h[d] * shrink_h + sum_p weight_h[p] value[p][d], W vectors of dims from d on.
template <int H, int W, class Page>
void add_values(float* const* o, const float* weights, const float* shrink, const Page& values,
                int d, int limit) {
  f32x16 sum[H][W];
  for (int h = 0; h < H; ++h)
    for (int i = 0; i < W; ++i) sum[h][i] = mul(load(o[h] + d + 16 * i), splat(shrink[h]));
  for (int p = 0; p < limit; ++p) {
    f32x16 value[W];
    for (int i = 0; i < W; ++i) value[i] = values.at(p, d + 16 * i);
    for (int h = 0; h < H; ++h)
      for (int i = 0; i < W; ++i)
        sum[h][i] = fma(splat(weights[h * kPageRows + p]), value[i], sum[h][i]);
  }
  for (int h = 0; h < H; ++h)
    for (int i = 0; i < W; ++i) store(o[h] + d + 16 * i, sum[h][i]);
}

// One page into the partials of H heads of one row.  A partial is [maximum, sum, 14 unused, o].
template <int H, class Page>
void page_heads(const float* q, float* partials, int64_t stride, const Page& keys,
                const Page& values, int dim, int limit, bool fresh) {
  alignas(64) float scores[H * kPageRows];
  float shrink[H];
  float* o[H];
  score_heads<H>(q, keys, dim, limit, scores);
  for (int h = 0; h < H; ++h) {
    float* s = scores + h * kPageRows;
    float* partial = partials + h * stride;
    o[h] = partial + 16;
    for (int p = limit; p < kPageRows; ++p) s[p] = minus_infinity();
    f32x16 high = load(s);
    for (int p = 16; p < kPageRows; p += 16) high = max(high, load(s + p));
    const float page_max = reduce_max(high);
    const float top = !fresh && partial[0] > page_max ? partial[0] : page_max;
    shrink[h] = fresh ? 0.0f : exp1(partial[0] - top);
    for (int p = 0; p < kPageRows; p += 16) store(s + p, exp(sub(load(s + p), splat(top))));
    for (int p = limit; p < kPageRows; ++p) s[p] = 0.0f;
    f32x16 sum = load(s);
    for (int p = 16; p < kPageRows; p += 16) sum = add(sum, load(s + p));
    partial[0] = top;
    partial[1] = (fresh ? 0.0f : partial[1] * shrink[h]) + reduce_add(sum);
  }
  if (fresh)
    for (int h = 0; h < H; ++h) std::memset(o[h], 0, sizeof(float) * dim);
  int d = 0;
  for (; d + 16 * kWide <= dim; d += 16 * kWide)
    add_values<H, kWide>(o, scores, shrink, values, d, limit);
  for (; d < dim; d += 16) add_values<H, 1>(o, scores, shrink, values, d, limit);
}

template <class Page>
void page_row(const float* q, float* partials, int64_t stride, const Page& keys, const Page& values,
              int dim, int heads, int limit, bool fresh) {
  while (heads > 0) {
    // Five heads are better taken as 3 + 2 than as 4 + 1.
    const int n = heads <= kHeads ? heads : heads < 2 * kHeads ? (heads + 1) / 2 : kHeads;
    switch (n) {
      case 1: page_heads<1>(q, partials, stride, keys, values, dim, limit, fresh); break;
      case 2: page_heads<2>(q, partials, stride, keys, values, dim, limit, fresh); break;
#if defined(__AVX512F__)
      case 3: page_heads<3>(q, partials, stride, keys, values, dim, limit, fresh); break;
      default: page_heads<4>(q, partials, stride, keys, values, dim, limit, fresh); break;
#endif
    }
    q += n * dim;
    partials += n * stride;
    heads -= n;
  }
}

// All rows of a unit over the pages of one chunk; partials lie as [row][head].
template <class Page>
void chunk_pages(const Attend& a, const AttendUnit& u, int chunk, const float* q, float* partials) {
  const KvCache& cache = a.cache;
  const int group = a.query_heads / cache.heads;
  const int64_t stride = partial_floats(cache);
  const int32_t* table = a.segments.page_table + int64_t(u.segment) * a.segments.max_pages;
  const int position = a.segments.pos_start[u.segment] + u.first;  // of the first row
  for (int start = chunk * kChunkRows; start < (chunk + 1) * kChunkRows; start += kPageRows) {
    if (start > position + u.rows - 1) break;
    const int64_t cell = (int64_t(table[start / kPageRows]) * cache.heads + u.kv_head) * kPageRows;
    const Page keys = open_page(cache, cache.k, cache.k_scale, cell, static_cast<Page*>(nullptr));
    const Page values = open_page(cache, cache.v, cache.v_scale, cell, static_cast<Page*>(nullptr));
    for (int r = start > position ? start - position : 0; r < u.rows; ++r) {
      const int seen = position + r - start + 1;
      page_row(q + int64_t(r) * group * cache.dim, partials + int64_t(r) * group * stride, stride,
               keys, values, cache.dim, group, seen < kPageRows ? seen : kPageRows,
               start == chunk * kChunkRows);
    }
  }
}

void run_chunk(const Attend& a, const AttendUnit& u, int chunk, const float* q, float* partials) {
  if (a.cache.k_scale == nullptr)
    chunk_pages<PageF16>(a, u, chunk, q, partials);
  else
    chunk_pages<PageQ8>(a, u, chunk, q, partials);
}

void queries(const Attend& a, const AttendUnit& u, float* q) {
  const int dim = a.cache.dim, group = a.query_heads / a.cache.heads;
  const float scale = 1.0f / __builtin_sqrtf(float(dim));
  for (int r = 0; r < u.rows; ++r) {
    const int row = a.segments.row_start[u.segment] + u.first + r;
    for (int h = 0; h < group; ++h, q += dim) {
      const int head = u.kv_head * group + h;
      norm_rotate(q, a.qg + (int64_t(row) * a.query_heads + head) * 2 * dim, a.q_norm, a.eps, dim,
                  a.rotation, row, scale);
    }
  }
}

// total := total and next, where next covers the positions right after total's.
void merge(float* total, const float* next, int dim) {
  const float top = total[0] > next[0] ? total[0] : next[0];
  const float left = exp1(total[0] - top), right = exp1(next[0] - top);
  total[0] = top;
  total[1] = total[1] * left + next[1] * right;
  for (int d = 16; d < 16 + dim; d += 16)
    store(total + d, fma(load(next + d), splat(right), mul(load(total + d), splat(left))));
}

// out = o / sum * sigmoid(gate).
void finish(const Attend& a, int row, int head, const float* partial) {
  const int dim = a.cache.dim;
  const float* gate = a.qg + ((int64_t(row) * a.query_heads + head) * 2 + 1) * dim;
  float* out = a.out + (int64_t(row) * a.query_heads + head) * dim;
  const f32x16 inverse = splat(1.0f / partial[1]);
  for (int d = 0; d < dim; d += 16)
    store(out + d, mul(mul(load(partial + 16 + d), inverse), sigmoid(load(gate + d))));
}

}  // namespace

void attend(const Attend& a, const AttendUnit& u, float* scratch) {
  const KvCache& cache = a.cache;
  const int group = a.query_heads / cache.heads;
  const int64_t stride = partial_floats(cache), count = int64_t(u.rows) * group;
  float* q = scratch;
  float* total = q + count * cache.dim;
  float* next = total + count * stride;
  queries(a, u, q);
  run_chunk(a, u, 0, q, total);
  for (int chunk = 1; chunk < u.chunks; ++chunk) {
    run_chunk(a, u, chunk, q, next);
    for (int r = 0; r < u.rows; ++r) {
      if (a.segments.pos_start[u.segment] + u.first + r < chunk * kChunkRows) continue;
      for (int64_t i = int64_t(r) * group; i < int64_t(r + 1) * group; ++i)
        merge(total + i * stride, next + i * stride, cache.dim);
    }
  }
  for (int r = 0; r < u.rows; ++r)
    for (int h = 0; h < group; ++h)
      finish(a, a.segments.row_start[u.segment] + u.first + r, u.kv_head * group + h,
             total + (int64_t(r) * group + h) * stride);
}

void attend_chunk(const Attend& a, const AttendUnit& u, int chunk, float* scratch,
                  float* partials) {
  const int64_t count = int64_t(u.rows) * (a.query_heads / a.cache.heads);
  queries(a, u, scratch);
  run_chunk(a, u, chunk, scratch, partials + u.partial + chunk * count * partial_floats(a.cache));
}

void combine(const Attend& a, const AttendUnit& u, int row, float* partials) {
  const int group = a.query_heads / a.cache.heads;
  const int64_t stride = partial_floats(a.cache), count = int64_t(u.rows) * group;
  const int last = (a.segments.pos_start[u.segment] + u.first + row) / kChunkRows;
  for (int h = 0; h < group; ++h) {
    float* total = partials + u.partial + (int64_t(row) * group + h) * stride;
    for (int chunk = 1; chunk <= last; ++chunk)
      merge(total, total + chunk * count * stride, a.cache.dim);
    finish(a, a.segments.row_start[u.segment] + u.first + row, u.kv_head * group + h, total);
  }
}

}  // namespace headlong::HEADLONG_ISA
