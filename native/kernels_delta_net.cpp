// Gated delta-net: causal convolution, gates and the recurrence
//   S' = decay S;  delta = beta (v - S'^T k);  S = S' + k delta^T;  o = S^T q
// one row after another, so that the bits do not depend on how a stream was cut into calls.
//
// A state [dk, dv] is worked on in tiles of a few columns: columns never meet, a lane is a column,
// and a tile (dk x 32 floats, 16 KiB at dk = 128) stays in L1 while rows pass through.
#include "sequence.hpp"
#include "simd.hpp"

namespace headlong::HEADLONG_ISA {

namespace {

struct Segment {
  int slot, row, rows, fold, final;
};

// The inputs of the convolution as one sequence: conv state, folded pending rows, new rows.
const float* window(const DeltaNet& a, const Segment& s, int i) {
  const int kept = a.taps - 1;
  if (i < kept) return a.conv + (int64_t(s.slot) * kept + i) * a.conv_dim;
  i -= kept;
  if (i < s.fold) return a.pending_u + (int64_t(s.slot) * a.pending + i) * a.conv_dim;
  return a.qkv + int64_t(s.row + i - s.fold) * a.conv_dim;
}

// Weights [channels, taps] as [taps, channels]; returns the end of what was written.
float* transpose_taps(float* to, const float* from, int channels, int taps) {
  if (taps == 4) {
    for (int c = 0; c < channels; c += 16) {
      f32x16 tap[4];
      load_by_four(tap, from + 4 * c);
      for (int t = 0; t < 4; ++t) store(to + t * channels + c, tap[t]);
    }
  } else {
    for (int c = 0; c < channels; ++c)
      for (int t = 0; t < taps; ++t) to[t * channels + c] = from[c * taps + t];
  }
  return to + taps * channels;
}

// silu(conv) of `channels` channels from `channel` on, for rows first .. first + rows - 1.
template <int Taps>
void convolve_rows(const DeltaNet& a, const Segment& s, int first, int rows, int channel,
                   int channels, const float* w, float* out) {
  const int taps = Taps > 0 ? Taps : a.taps;
  for (int r = 0; r < rows; ++r, out += channels) {
    const float* u[kMaxTaps];
    for (int t = 0; t < taps; ++t) u[t] = window(a, s, s.fold + first + r + t) + channel;
    // Rows lie conv_dim apart, out of reach of prefetchers.
    const float* next = u[taps - 1] + (first + r + 1 < s.rows ? a.conv_dim : 0);
    for (int c = 0; c < channels; c += 16) {
      __builtin_prefetch(next + c);
      f32x16 sum = mul(load(w + c), load(u[0] + c));
      for (int t = 1; t < taps; ++t) sum = fma(load(w + t * channels + c), load(u[t] + c), sum);
      store(out + c, silu(sum));
    }
  }
}
void convolve(const DeltaNet& a, const Segment& s, int first, int rows, int channel, int channels,
              const float* w, float* out) {
  if (a.taps == 4)
    convolve_rows<4>(a, s, first, rows, channel, channels, w, out);
  else
    convolve_rows<0>(a, s, first, rows, channel, channels, w, out);
}

// x * rsqrt(sum x^2 + eps) * scale for each row.
void unit_length(float* x, int rows, int dim, float eps, float scale) {
  for (int r = 0; r < rows; ++r, x += dim) {
    f32x16 squares = zero();
    for (int d = 0; d < dim; d += 16) {
      const f32x16 v = load(x + d);
      squares = fma(v, v, squares);
    }
    const f32x16 factor = splat(scale / __builtin_sqrtf(reduce_add(squares) + eps));
    for (int d = 0; d < dim; d += 16) store(x + d, mul(load(x + d), factor));
  }
}

// log(1 + e^x) = max(x, 0) + log1p(e^-|x|), with log1p(y) = 2 artanh(y / (2 + y)).  y / (2 + y) is
// at most 1/3, so nine terms of the odd series leave (1/9)^9 / 19 = 1.4e-10 of the sum.
f32x16 softplus(f32x16 x) {
  const f32x16 y = exp(sub(zero(), abs(x)));
  const f32x16 t = div(y, add(splat(2.0f), y));
  const f32x16 t2 = mul(t, t);
  f32x16 p = splat(1.0f / 17.0f);
  for (int odd = 15; odd >= 1; odd -= 2) p = fma(p, t2, splat(1.0f / float(odd)));
  return fma(add(t, t), p, max(zero(), x));
}

// beta = sigmoid(b) and decay = exp(ssm_a softplus(a + dt)) of one value head, a lane per row.
void gates(const DeltaNet& a, int row, int rows, int head, float* beta, float* decay) {
  for (int r = 0; r < rows; r += 16) {
    alignas(64) float raw_b[16] = {}, raw_a[16] = {};
    for (int i = 0; i < 16 && r + i < rows; ++i) {
      const int64_t at = int64_t(row + r + i) * a.value_heads + head;
      raw_b[i] = a.beta[at];
      raw_a[i] = a.alpha[at];
    }
    store(beta + r, sigmoid(load(raw_b)));
    const f32x16 g = mul(splat(a.ssm_a[head]), softplus(add(load(raw_a), splat(a.dt_bias[head]))));
    store(decay + r, exp(g));
    store(raw_a, g);
    // exp() stops at e^-87; below, the state is forgotten rather than left as denormals.
    for (int i = 0; i < 16; ++i)
      if (raw_a[i] < -87.0f) decay[r + i] = 0.0f;
  }
}

// Columns of a tile, in vectors.  Two share the broadcast of k and q (four chains each take 8 of 32
// zmm registers); AVX2 has registers for one.
#if defined(__AVX512F__)
constexpr int kWidth = 2;
#else
constexpr int kWidth = 1;
#endif

// Where a tile lies: in the state, rows dv apart, or packed in scratch.
struct Place {
  float* at;
  int64_t stride;
};

// What the next tile will need, asked for while this one is worked on; null if nothing.
inline void ask(const float* next, int64_t i, int64_t stride, int vectors) {
  if (next == nullptr) return;
  for (int w = 0; w < vectors; ++w) __builtin_prefetch(next + i * stride + 16 * w, 1, 2);
}

// Rows that were accepted since the state was written: their keys, deltas and decays.
struct Folds {
  int count;
  const float *k, *delta, *decay;
  int64_t k_stride, delta_stride, decay_stride;
};

// Sums over i run in four chains (i % 4), to hide the latency of an fma, and end as
// (0 + 1) + (2 + 3).
template <int W>
struct Chains {
  f32x16 sum[W][4];
  Chains() {
    for (int w = 0; w < W; ++w)
      for (int c = 0; c < 4; ++c) sum[w][c] = zero();
  }
  f32x16 total(int w) const {
    return add(add(sum[w][0], sum[w][1]), add(sum[w][2], sum[w][3]));
  }
};

// seen = S^T k.
template <int W>
void look(Place from, const float* k, int dk, Chains<W>& seen, const float* next,
          int64_t next_stride) {
  for (int i = 0; i < dk; i += 4) {
    for (int c = 0; c < 4; ++c) ask(next, i + c, next_stride, W);
    for (int c = 0; c < 4; ++c)
      for (int w = 0; w < W; ++w)
        seen.sum[w][c] =
            fma(splat(k[i + c]), load(from.at + (i + c) * from.stride + 16 * w), seen.sum[w][c]);
  }
}

// S = decay S + k delta^T for every fold in turn, an element at a time: one load and one store for
// all of them.  seen = S^T k where k is not null.
template <int W>
void absorb(Place from, Place to, const Folds& folds, const float* k, int dk, Chains<W>& seen,
            const float* next, int64_t next_stride) {
  for (int i = 0; i < dk; i += 4) {
    for (int c = 0; c < 4; ++c) ask(next, i + c, next_stride, W);
    f32x16 s[4][W];
    for (int c = 0; c < 4; ++c)
      for (int w = 0; w < W; ++w) s[c][w] = load(from.at + (i + c) * from.stride + 16 * w);
    for (int f = 0; f < folds.count; ++f) {
      const f32x16 keep = splat(folds.decay[f * folds.decay_stride]);
      const float* delta = folds.delta + f * folds.delta_stride;
      const float* key = folds.k + f * folds.k_stride;
      for (int c = 0; c < 4; ++c)
        for (int w = 0; w < W; ++w)
          s[c][w] = fma(splat(key[i + c]), load(delta + 16 * w), mul(keep, s[c][w]));
    }
    for (int c = 0; c < 4; ++c)
      for (int w = 0; w < W; ++w) {
        store(to.at + (i + c) * to.stride + 16 * w, s[c][w]);
        if (k != nullptr) seen.sum[w][c] = fma(splat(k[i + c]), s[c][w], seen.sum[w][c]);
      }
  }
}

struct Row {
  const float *q, *k, *v;
  float beta, decay;
  float *o, *delta;  // delta null: not kept
};

// One row through a tile, `seen` being S^T k of it.  With a next row, whose key is `next_k`, the
// same passage over the tile gives that row's `seen`; without, a state that nobody wants (`to`
// null) is not stored.
template <int W, bool Next, bool Store>
void step(Place from, Place to, const Row& row, const float* next_k, int dk, Chains<W>& seen) {
  const float *k = row.k, *q = row.q;
  const f32x16 keep = splat(row.decay);
  f32x16 delta[W];
  for (int w = 0; w < W; ++w) {
    delta[w] = mul(splat(row.beta), sub(load(row.v + 16 * w), mul(keep, seen.total(w))));
    if (row.delta != nullptr) store(row.delta + 16 * w, delta[w]);
  }
  Chains<W> out, then;
  for (int i = 0; i < dk; i += 4)
    for (int c = 0; c < 4; ++c)
      for (int w = 0; w < W; ++w) {
        const f32x16 s = fma(splat(k[i + c]), delta[w],
                             mul(keep, load(from.at + (i + c) * from.stride + 16 * w)));
        if constexpr (Store) store(to.at + (i + c) * to.stride + 16 * w, s);
        out.sum[w][c] = fma(splat(q[i + c]), s, out.sum[w][c]);
        if constexpr (Next) then.sum[w][c] = fma(splat(next_k[i + c]), s, then.sum[w][c]);
      }
  for (int w = 0; w < W; ++w) store(row.o + 16 * w, out.total(w));
  seen = then;
}

// Whether a row's passage also looks ahead for the next: sixteen sums want 32 registers.
#if defined(__AVX512F__)
constexpr bool kLookAhead = true;
#else
constexpr bool kLookAhead = false;
#endif

// Rows first .. first + rows - 1 of a segment, of which the leading `commit` change the state.
struct Block {
  int first, rows, fold, commit;
  const float *q, *k, *v, *beta, *decay;
  float* o;
};

// A block through W vectors of columns of one value head.  The tile is read from the state once
// and written back after the last row that counts; between, and after, it lives in scratch.
template <int W>
void recur_columns(const DeltaNet& a, const Segment& s, int key_head, int head, const Block& b,
                   int column, float* scratch) {
  const int dk = a.dk, dv = a.dv;
  const int64_t pending = int64_t(s.slot) * a.pending;
  const Place state{a.state + (int64_t(s.slot) * a.value_heads + head) * dk * dv + column, dv};
  const Place tile{scratch, 16 * W};
  const int64_t delta_stride = int64_t(a.value_heads) * dv;
  float* deltas = a.pending_delta + (pending * a.value_heads + head) * dv + column;
  const float* next = column + 16 * W < dv ? state.at + 16 * W : nullptr;

  Place from = state;
  Chains<W> seen;
  if (b.fold > 0) {
    const Place to = b.commit == 0 ? state : tile;
    const Folds folds{b.fold,
                      a.pending_k + (pending * a.key_heads + key_head) * dk,
                      deltas,
                      a.pending_decay + pending * a.value_heads + head,
                      int64_t(a.key_heads) * dk,
                      delta_stride,
                      a.value_heads};
    absorb<W>(from, to, folds, b.rows > 0 ? b.k : nullptr, dk, seen, next, dv);
    from = to;
  } else if (b.rows > 0) {
    look<W>(from, b.k, dk, seen, next, dv);
  }
  for (int r = 0; r < b.rows; ++r) {
    const bool last = r + 1 == b.rows;
    const Place to = r + 1 == b.commit ? state : tile;
    const float* next_k = b.k + (r + 1) * dk;
    const Row row{b.q + r * dk,
                  b.k + r * dk,
                  b.v + r * dv + column,
                  b.beta[r],
                  b.decay[r],
                  b.o + r * dv + column,
                  r < b.commit ? nullptr : deltas + (r - b.commit) * delta_stride};
    if (last && r >= b.commit) {
      step<W, false, false>(from, to, row, nullptr, dk, seen);
    } else if (last || !kLookAhead) {
      step<W, false, true>(from, to, row, nullptr, dk, seen);
      if (!last) look<W>(to, next_k, dk, seen, nullptr, 0);
    } else {
      step<W, kLookAhead, true>(from, to, row, next_k, dk, seen);
    }
    from = to;
  }
}

void recur(const DeltaNet& a, const Segment& s, int key_head, int head, const Block& b,
           float* scratch) {
  int column = 0;
  for (; column + 16 * kWidth <= a.dv; column += 16 * kWidth)
    recur_columns<kWidth>(a, s, key_head, head, b, column, scratch);
  for (; column < a.dv; column += 16) recur_columns<1>(a, s, key_head, head, b, column, scratch);
  for (int r = b.commit; r < b.rows; ++r)
    a.pending_decay[(int64_t(s.slot) * a.pending + r - b.commit) * a.value_heads + head] =
        b.decay[r];
}

// y = rms(o; norm_w) * silu(z).
void gated_norm(const DeltaNet& a, int row, int rows, int head, const float* o) {
  const int dv = a.dv;
  for (int r = 0; r < rows; ++r, o += dv) {
    const int64_t at = (int64_t(row + r) * a.value_heads + head) * dv;
    f32x16 squares = zero();
    for (int d = 0; d < dv; d += 16) {
      const f32x16 v = load(o + d);
      squares = fma(v, v, squares);
    }
    const f32x16 inverse = splat(1.0f / __builtin_sqrtf(reduce_add(squares) / float(dv) + a.eps));
    for (int d = 0; d < dv; d += 16)
      store(a.out + at + d,
            mul(mul(mul(load(o + d), inverse), load(a.norm_w + d)), silu(load(a.z + at + d))));
  }
}

// The conv state moves on by fold + final rows, and rows from `final` on become pending.
// Ascending order: a row's source lies at or after the row itself.
void keep_inputs(const DeltaNet& a, const Segment& s, int channel, int channels) {
  const int kept = a.taps - 1, moved = s.fold + s.final;
  if (moved > 0)
    for (int i = 0; i < kept; ++i) {
      float* to = a.conv + (int64_t(s.slot) * kept + i) * a.conv_dim + channel;
      std::memcpy(to, window(a, s, moved + i) + channel, sizeof(float) * channels);
    }
  for (int r = s.final; r < s.rows; ++r) {
    float* to = a.pending_u + (int64_t(s.slot) * a.pending + r - s.final) * a.conv_dim + channel;
    std::memcpy(to, a.qkv + int64_t(s.row + r) * a.conv_dim + channel, sizeof(float) * channels);
  }
}

}  // namespace

void delta_net(const DeltaNet& a, int segment, int key_head, float* scratch) {
  const Segment s{a.slot[segment], a.row_start[segment], a.rows[segment], a.fold[segment],
                  a.final[segment]};
  const int dk = a.dk, dv = a.dv, group = a.value_heads / a.key_heads;
  const int q_channel = key_head * dk, k_channel = (a.key_heads + key_head) * dk;
  const int v_channels = 2 * a.key_heads * dk;
  const int block = kDeltaRows + a.pending;

  float* w_q = scratch;
  float* w_k = transpose_taps(w_q, a.conv_w + int64_t(q_channel) * a.taps, dk, a.taps);
  float* w_v = transpose_taps(w_k, a.conv_w + int64_t(k_channel) * a.taps, dk, a.taps);
  float* end = w_v;
  for (int head = key_head; head < a.value_heads; head += a.key_heads)
    end = transpose_taps(end, a.conv_w + int64_t(v_channels + head * dv) * a.taps, dv, a.taps);
  float* q = end;
  float* k = q + int64_t(block) * dk;
  float* v = k + int64_t(block) * dk;
  float* o = v + int64_t(block) * dv;
  float* beta = o + int64_t(block) * dv;
  float* decay = beta + round16(block);
  float* tile = decay + round16(block);
  const float* first_tile = a.state + (int64_t(s.slot) * a.value_heads + key_head) * dk * dv;
  for (int i = 0; i < dk; ++i) ask(first_tile, i, dv, kWidth);

  // The last block takes all rows that are not committed (at most `pending`), so that no state
  // needs to be carried from one block to the next except in its own place.
  int first = 0;
  do {
    const int left = s.rows - first;
    const int rows = left > block ? kDeltaRows : left;
    convolve(a, s, first, rows, q_channel, dk, w_q, q);
    convolve(a, s, first, rows, k_channel, dk, w_k, k);
    unit_length(q, rows, dk, a.eps, 1.0f / __builtin_sqrtf(float(dk)));
    unit_length(k, rows, dk, a.eps, 1.0f);
    for (int i = 0; i < group; ++i) {
      const int head = key_head + i * a.key_heads;
      convolve(a, s, first, rows, v_channels + head * dv, dv, w_v + int64_t(i) * a.taps * dv, v);
      gates(a, s.row + first, rows, head, beta, decay);
      const int commit = s.final - first < rows ? s.final - first : rows;
      recur(a, s, key_head, head,
            Block{first, rows, first == 0 ? s.fold : 0, commit, q, k, v, beta, decay, o}, tile);
      gated_norm(a, s.row + first, rows, head, o);
    }
    for (int r = s.final > first ? s.final - first : 0; r < rows; ++r) {
      const int64_t to = int64_t(s.slot) * a.pending + first + r - s.final;
      std::memcpy(a.pending_k + (to * a.key_heads + key_head) * dk, k + int64_t(r) * dk,
                  sizeof(float) * dk);
    }
    first += rows;
  } while (first < s.rows);

  keep_inputs(a, s, q_channel, dk);
  keep_inputs(a, s, k_channel, dk);
  for (int i = 0; i < group; ++i)
    keep_inputs(a, s, v_channels + (key_head + i * a.key_heads) * dv, dv);
}

}  // namespace headlong::HEADLONG_ISA
