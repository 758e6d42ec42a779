// Operations along a sequence: KV cache, attention, gated delta-net.  The rows of all sequences
// form one batch; a segment is a run of consecutive rows that belong to one sequence.
//
// Functions in this header are `static`: kernel sources are compiled with other instruction sets
// than the callers, and a shared inline function could be emitted with the wrong one.
#pragma once

#include <cstdint>

namespace headlong {

constexpr int kPageRows = 64;    // positions in a page of the KV cache
constexpr int kChunkRows = 512;  // positions whose softmax is accumulated together: 8 pages
constexpr int kMaxTaps = 8;
constexpr int kScaleBlock = 32;  // values that share a scale in the q8_0 cache

// The KV cache of one layer: [pages, heads, kPageRows, dim] of f16, or of int8 with f16 scales
// [pages, heads, kPageRows, dim / kScaleBlock].
struct KvCache {
  void *k, *v;
  uint16_t *k_scale, *v_scale;  // null for an f16 cache
  int heads, dim;
};

struct Segments {
  int count;
  const int32_t *row_start, *rows, *pos_start;
  const int32_t* page_table;  // [count, max_pages]
  int max_pages;
};

struct Rotation {
  const float *cos, *sin;  // [rows of the batch, pairs]
  int pairs;               // dims d and d + pairs turn together, d < pairs
};

struct KvStore {
  const float *k, *v;   // [T, heads * dim]
  const float* k_norm;  // [dim]
  float eps;
  Rotation rotation;
  KvCache cache;
  Segments segments;
};

struct Attend {
  const float* qg;      // [T, query heads, 2, dim]: query, then gate
  const float* q_norm;  // [dim]
  float eps;
  Rotation rotation;
  KvCache cache;
  Segments segments;
  int query_heads;
  float* out;  // [T, query heads * dim]
};

// Rows of one segment that share the pages of one KV head.
struct AttendUnit {
  int segment, kv_head, first, rows;
  int chunks;       // of the last row
  int64_t partial;  // where its chunk results lie in the partials, in floats
};

struct DeltaNet {
  const float* qkv;              // [T, conv_dim]: before the convolution; q | k | v
  const float* z;                // [T, value_heads * dv]
  const float *beta, *alpha;     // [T, value_heads]
  const float* conv_w;           // [conv_dim, taps], oldest tap first
  const float *ssm_a, *dt_bias;  // [value_heads]
  const float* norm_w;           // [dv]
  float eps;
  float* state;          // [slots, value_heads, dk, dv]
  float* conv;           // [slots, taps - 1, conv_dim], oldest first
  float* pending_k;      // [slots, pending, key_heads * dk]
  float* pending_delta;  // [slots, pending, value_heads * dv]
  float* pending_decay;  // [slots, pending, value_heads]
  float* pending_u;      // [slots, pending, conv_dim]
  const int32_t *slot, *row_start, *rows, *fold, *final;
  int segments, pending, key_heads, value_heads, dk, dv, taps, conv_dim;
  float* out;  // [T, value_heads * dv]
};

struct SequenceKernels {
  // Rows first .. first + rows - 1 of a segment into the cache.
  void (*kv_store)(const KvStore&, int segment, int first, int rows);
  // One unit over all its chunks, finished.
  void (*attend)(const Attend&, const AttendUnit&, float* scratch);
  // One chunk of a unit into `partials`; `combine` then merges the chunks of one row of the unit.
  void (*attend_chunk)(const Attend&, const AttendUnit&, int chunk, float* scratch,
                       float* partials);
  void (*combine)(const Attend&, const AttendUnit&, int row, float* partials);
  // All rows of a segment, for the value heads that use one key head.
  void (*delta_net)(const DeltaNet&, int segment, int key_head, float* scratch);
};

static inline int64_t round16(int64_t n) { return (n + 15) / 16 * 16; }

// One query head of one row within a chunk: running maximum, sum of weights (padded to a vector),
// then the weighted sum of values.
static inline int64_t partial_floats(const KvCache& cache) { return 16 + cache.dim; }

// Queries of a unit, their scores in one page, and a factor each.
static inline int64_t query_floats(const Attend& a, int rows) {
  const int64_t queries = int64_t(rows) * (a.query_heads / a.cache.heads);
  return round16(queries * (a.cache.dim + kPageRows + 1));
}
// The same, then partials of one chunk and of all chunks before it.
static inline int64_t attend_scratch(const Attend& a, int rows) {
  const int64_t queries = int64_t(rows) * (a.query_heads / a.cache.heads);
  return query_floats(a, rows) + queries * 2 * partial_floats(a.cache);
}

// Rows that the delta-net kernel takes through one tile of the state at a time: enough to pay for
// copying the tile in and out (2 x dk vectors against 4 x dk operations a row), few enough that
// q, k, v and o of one head (32 rows x 4 x 128 floats = 64 KiB) stay in L2.
constexpr int kDeltaRows = 32;

static inline int64_t delta_net_scratch(const DeltaNet& a) {
  const int64_t block = kDeltaRows + a.pending;
  const int group = a.value_heads / a.key_heads;
  return int64_t(a.taps) * (2 * a.dk + group * a.dv)  // convolution weights, one tap after another
         + block * (2 * a.dk + 2 * a.dv)              // q, k, v, o
         + 2 * round16(block)                         // beta, decay
         + 32 * int64_t(a.dk);                        // a tile of the state
}

}  // namespace headlong
