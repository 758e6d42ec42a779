// Causal attention over the paged KV cache.
//
// Every float sum has an order that depends only on absolute positions: within a page scores are
// dot products over dims and values are added position by position; pages follow each other inside
// a chunk of 512 positions with an online softmax that starts afresh in each chunk; chunks are
// merged in order.  Rows, heads and threads share out the work without changing any of that.
#include "heads.hpp"

namespace headlong::HEADLONG_ISA {

namespace {

// Heads, and positions or vectors of dims, worked on together: 4 x 4 accumulators leave room for
// operands in 32 zmm registers; with AVX2 a vector takes two of 16 ymm registers.
#if defined(__AVX512F__)
constexpr int kHeads = 4;
constexpr int kWide = 4;
#else
constexpr int kHeads = 2;
constexpr int kWide = 2;
#endif

// Pages are widened to float32 tile by tile, once for all rows and heads of a unit: a widening
// costs as much as two fmas.  Both tiles hold 16 KiB at most, half of a first-level cache.
constexpr int kKeyTile = 8;     // positions x all dims
constexpr int kValueTile = 64;  // dims x all positions of a page
constexpr int kTileFloats = 4096;
static_assert(kValueTile * kPageRows <= kTileFloats && kKeyTile * 512 <= kTileFloats);
static_assert(kKeyTile % kWide == 0);

float exp1(float x) {
  alignas(64) float t[16];
  store(t, exp(splat(x)));
  return t[0];
}

// Keys or values of one page and head.
struct PageF16 {
  const uint16_t* data;
  int dim;

  PageF16(const KvCache& c, const void* all, const uint16_t*, int64_t cell)
      : data(static_cast<const uint16_t*>(all) + cell * c.dim), dim(c.dim) {}
  f32x16 at(int position, int d) const { return load_f16(data + position * dim + d); }
};
struct PageQ8 {
  const int8_t* data;
  const uint16_t* scale;
  int dim;

  PageQ8(const KvCache& c, const void* all, const uint16_t* scales, int64_t cell)
      : data(static_cast<const int8_t*>(all) + cell * c.dim),
        scale(scales + cell * (c.dim / kScaleBlock)),
        dim(c.dim) {}
  f32x16 at(int position, int d) const {  // exact: 8 bits times 11
    const int i = position * dim + d;
    return mul(load_i8(data + i), splat_f16(scale + i / kScaleBlock));
  }
};

// A slice of a page that will be needed soon.  The arithmetic asks for it, two cache lines in
// each round of its inner loop: asked for at once, it would hold up the loads in between, and not
// asked for, it would come late (a tile of values touches two lines in every eight, a pattern that
// prefetchers in hardware do not follow).
struct Ahead {
  const char *at, *end;

  template <class Page>
  Ahead(const Page& page, int64_t part, int64_t count, int64_t parts) {
    const int64_t lines = int64_t(kPageRows) * page.dim * sizeof *page.data / 64;
    at = reinterpret_cast<const char*>(page.data) + lines * part / parts * 64;
    end = reinterpret_cast<const char*>(page.data) + lines * (part + count) / parts * 64;
  }
  void ask() {
    if (at >= end) return;
    __builtin_prefetch(at, 0, 2);
    __builtin_prefetch(at + 64, 0, 2);
    at += 128;
  }
};

// scores[h][p] = q_h . key p for the positions of a key tile.
template <int H>
void score(const float* q, const float* keys, int dim, int positions, float* scores, Ahead ahead) {
  for (int p = 0; p < positions; p += kWide) {
    f32x16 sum[H][kWide];
    for (int h = 0; h < H; ++h)
      for (int i = 0; i < kWide; ++i) sum[h][i] = zero();
    for (int d = 0; d < dim; d += 16) {
      ahead.ask();
      for (int h = 0; h < H; ++h) {
        const f32x16 x = load(q + h * dim + d);
        for (int i = 0; i < kWide; ++i)
          sum[h][i] = fma(x, load(keys + (p + i) * dim + d), sum[h][i]);
      }
    }
    float* out[H];
    for (int h = 0; h < H; ++h) out[h] = scores + h * kPageRows + p;
    if constexpr (kWide == 4) {
      for (int h = 0; h < H; ++h)
        reduce_add(out[h], sum[h][0], sum[h][1], sum[h][2], sum[h][kWide - 1]);
    } else {
      for (int h = 0; h < H; ++h)
        for (int i = 0; i < kWide; ++i) out[h][i] = reduce_add(sum[h][i]);
    }
  }
}

// o_h[d] = o_h[d] * shrink_h + sum_p weight_h[p] value[p][d], for W vectors of dims.
template <int H, int W>
void add_values(float* o, int64_t stride, const float* weights, const float* shrink,
                const float* values, int width, int limit, Ahead& ahead) {
  f32x16 sum[H][W];
  for (int h = 0; h < H; ++h)
    for (int i = 0; i < W; ++i) sum[h][i] = mul(load(o + h * stride + 16 * i), splat(shrink[h]));
  for (int p = 0; p < limit; ++p) {
    ahead.ask();
    for (int h = 0; h < H; ++h) {
      const f32x16 weight = splat(weights[h * kPageRows + p]);
      for (int i = 0; i < W; ++i)
        sum[h][i] = fma(weight, load(values + p * width + 16 * i), sum[h][i]);
    }
  }
  for (int h = 0; h < H; ++h)
    for (int i = 0; i < W; ++i) store(o + h * stride + 16 * i, sum[h][i]);
}
template <int H>
void add_value_tile(float* o, int64_t stride, const float* weights, const float* shrink,
                    const float* values, int width, int limit, Ahead ahead) {
  int d = 0;
  for (; d + 16 * kWide <= width; d += 16 * kWide)
    add_values<H, kWide>(o + d, stride, weights, shrink, values + d, width, limit, ahead);
  for (; d < width; d += 16)
    add_values<H, 1>(o + d, stride, weights, shrink, values + d, width, limit, ahead);
}

// Calls body with the number of heads as a constant, kHeads at a time; five heads are better
// taken as 3 + 2 than as 4 + 1.
template <int N>
struct Count {};
template <class Body>
inline void by_heads(int heads, const Body& body) {
  for (int first = 0; first < heads;) {
    const int left = heads - first;
    const int n = left <= kHeads ? left : left < 2 * kHeads ? (left + 1) / 2 : kHeads;
    switch (n) {
      case 1:
        body(first, Count<1>());
        break;
      case 2:
        body(first, Count<2>());
        break;
#if defined(__AVX512F__)
      case 3:
        body(first, Count<3>());
        break;
      default:
        body(first, Count<4>());
        break;
#endif
    }
    first += n;
  }
}

// Scores of a page become weights, relative to the new maximum; returns the factor by which what
// was summed before shrinks.  Whatever stood at positions past the limit weighs e^-87, which leaves
// a sum of at least 1 as it is.  A partial is [maximum, sum of weights, 14 unused, o].
float soften(float* s, int limit, float* partial, bool fresh) {
  for (int p = limit; p < kPageRows; ++p) s[p] = -__builtin_inff();
  f32x16 high = load(s);
  for (int p = 16; p < kPageRows; p += 16) high = max(high, load(s + p));
  const float page_max = reduce_max(high);
  const float top = !fresh && partial[0] > page_max ? partial[0] : page_max;
  const float shrink = fresh ? 0.0f : exp1(partial[0] - top);
  for (int p = 0; p < kPageRows; p += 16) store(s + p, exp(sub(load(s + p), splat(top))));
  f32x16 sum = load(s);
  for (int p = 16; p < kPageRows; p += 16) sum = add(sum, load(s + p));
  partial[0] = top;
  partial[1] = (fresh ? 0.0f : partial[1] * shrink) + reduce_add(sum);
  return shrink;
}

// Rows of a unit: queries, scores of the current page, and the partials of the current chunk, each
// as [row][head].
struct Rows {
  const float* q;
  float *scores, *shrink, *partials;
  int count, heads, dim;
  int64_t stride;
};

// One page into the partials.  Row r sees the positions below `seen + r` of the page; rows that
// see none are left alone.
template <class Page>
void add_page(const Rows& rows, const Page& keys, const Page& values, const Page& next, int seen,
              bool fresh) {
  alignas(64) float tile[kTileFloats];
  const int dim = rows.dim, heads = rows.heads;
  const int first = seen > 0 ? 0 : 1 - seen;  // row that sees something
  const auto limit = [seen](int r) { return seen + r < kPageRows ? seen + r : kPageRows; };
  const int used = limit(rows.count - 1);
  const int64_t queries = int64_t(rows.count) * heads;
  const int key_tiles = (used + kKeyTile - 1) / kKeyTile;

  for (int p = 0; p < used; p += kKeyTile) {
    for (int i = 0; i < kKeyTile; ++i)
      for (int d = 0; d < dim; d += 16) store(tile + i * dim + d, keys.at(p + i, d));
    for (int r = first; r < rows.count; ++r)
      if (p < limit(r))
        by_heads(heads, [&]<int H>(int h, Count<H>) {
          const int64_t i = int64_t(r) * heads + h;
          score<H>(rows.q + i * dim, tile, dim, kKeyTile, rows.scores + i * kPageRows + p,
                   Ahead(values, p / kKeyTile * queries + i, H, key_tiles * queries));
        });
  }
  for (int r = first; r < rows.count; ++r)
    for (int64_t i = int64_t(r) * heads; i < int64_t(r + 1) * heads; ++i) {
      float* partial = rows.partials + i * rows.stride;
      rows.shrink[i] = soften(rows.scores + i * kPageRows, limit(r), partial, fresh);
      if (fresh) std::memset(partial + 16, 0, sizeof(float) * dim);
    }
  const int tiles = (dim + kValueTile - 1) / kValueTile;
  for (int t = 0; t < tiles; ++t) {
    const int start = t * kValueTile, width = dim - start < kValueTile ? dim - start : kValueTile;
    for (int p = 0; p < used; ++p)
      for (int d = 0; d < width; d += 16) store(tile + p * width + d, values.at(p, start + d));
    for (int r = first; r < rows.count; ++r)
      by_heads(heads, [&]<int H>(int h, Count<H>) {
        const int64_t i = int64_t(r) * heads + h;
        add_value_tile<H>(rows.partials + i * rows.stride + 16 + start, rows.stride,
                          rows.scores + i * kPageRows, rows.shrink + i, tile, width, limit(r),
                          Ahead(next, t * queries + i, H, tiles * queries));
      });
  }
}

template <class Page>
void add_chunk(const Attend& a, const AttendUnit& u, int chunk, const Rows& rows) {
  const KvCache& cache = a.cache;
  const int32_t* table = a.segments.page_table + int64_t(u.segment) * a.segments.max_pages;
  const int position = a.segments.pos_start[u.segment] + u.first;  // of the first row
  const int last = position + u.rows - 1;
  const auto cell = [&](int p) {
    return (int64_t(table[p / kPageRows]) * cache.heads + u.kv_head) * kPageRows;
  };
  const int begin = chunk * kChunkRows;
  for (int start = begin; start < begin + kChunkRows && start <= last; start += kPageRows) {
    const bool more = start + kPageRows < begin + kChunkRows && start + kPageRows <= last;
    const Page keys(cache, cache.k, cache.k_scale, cell(start));
    const Page values(cache, cache.v, cache.v_scale, cell(start));
    const Page next(cache, cache.k, cache.k_scale, cell(more ? start + kPageRows : start));
    add_page(rows, keys, values, next, position - start + 1, start == begin);
  }
}

// All rows of a unit over the pages of one chunk.  `q` is followed by room for the scores.
void run_chunk(const Attend& a, const AttendUnit& u, int chunk, float* q, float* partials) {
  const int heads = a.query_heads / a.cache.heads, dim = a.cache.dim;
  const int64_t queries = int64_t(u.rows) * heads;
  float* scores = q + queries * dim;
  const Rows rows{q,     scores, scores + queries * kPageRows, partials, u.rows,
                  heads, dim,    partial_floats(a.cache)};
  if (a.cache.k_scale == nullptr)
    add_chunk<PageF16>(a, u, chunk, rows);
  else
    add_chunk<PageQ8>(a, u, chunk, rows);
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
  float* total = q + query_floats(a, u.rows);
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
