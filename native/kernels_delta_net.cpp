// Gated delta-net: causal convolution, gates and the recurrence
//   S' = decay S;  delta = beta (v - S'^T k);  S = S' + k delta^T;  o = S^T q
// one row after another, so that the bits do not depend on how a stream was cut into calls.
//
// A state [dk, dv] is worked on in tiles of 16 columns: columns never meet, a lane is a column,
// and dk x 16 floats (8 KiB at dk = 128) stay in L1 while rows pass through.
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
  for (int c = 0; c < channels; ++c)
    for (int t = 0; t < taps; ++t) to[int64_t(t) * channels + c] = from[int64_t(c) * taps + t];
  return to + int64_t(taps) * channels;
}

// silu(conv) of `channels` channels from `channel` on, for rows first .. first + rows - 1.
void convolve(const DeltaNet& a, const Segment& s, int first, int rows, int channel, int channels,
              const float* w, float* out) {
  for (int r = 0; r < rows; ++r, out += channels) {
    const float* u[kMaxTaps];
    for (int t = 0; t < a.taps; ++t) u[t] = window(a, s, s.fold + first + r + t) + channel;
    for (int c = 0; c < channels; c += 16) {
      f32x16 sum = mul(load(w + c), load(u[0] + c));
      for (int t = 1; t < a.taps; ++t) sum = fma(load(w + t * channels + c), load(u[t] + c), sum);
      store(out + c, silu(sum));
    }
  }
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
    const f32x16 g =
        mul(splat(a.ssm_a[head]), softplus(add(load(raw_a), splat(a.dt_bias[head]))));
    store(decay + r, exp(g));
    store(raw_a, g);
    // exp() stops at e^-87; below, the state is forgotten rather than left as denormals.
    for (int i = 0; i < 16; ++i)
      if (raw_a[i] < -87.0f) decay[r + i] = 0.0f;
  }
}

// S = decay S + k delta^T.
inline void absorb(float* tile, const float* k, f32x16 delta, float decay, int dk) {
  const f32x16 keep = splat(decay);
  for (int i = 0; i < dk; ++i)
    store(tile + 16 * i, fma(splat(k[i]), delta, mul(keep, load(tile + 16 * i))));
}

// One row through a tile; returns delta and leaves o.  Sums over i run in four chains (i % 4), to
// hide the latency of an fma, and end as (0 + 1) + (2 + 3).
inline f32x16 step(float* tile, const float* k, const float* q, f32x16 v, float beta, float decay,
                   int dk, float* o) {
  f32x16 sum[4] = {zero(), zero(), zero(), zero()};
  for (int i = 0; i < dk; i += 4)
    for (int c = 0; c < 4; ++c)
      sum[c] = fma(splat(k[i + c]), load(tile + 16 * (i + c)), sum[c]);
  const f32x16 keep = splat(decay);
  const f32x16 seen = mul(keep, add(add(sum[0], sum[1]), add(sum[2], sum[3])));
  const f32x16 delta = mul(splat(beta), sub(v, seen));
  f32x16 out[4] = {zero(), zero(), zero(), zero()};
  for (int i = 0; i < dk; i += 4)
    for (int c = 0; c < 4; ++c) {
      const f32x16 s = fma(splat(k[i + c]), delta, mul(keep, load(tile + 16 * (i + c))));
      store(tile + 16 * (i + c), s);
      out[c] = fma(splat(q[i + c]), s, out[c]);
    }
  store(o, add(add(out[0], out[1]), add(out[2], out[3])));
  return delta;
}

void load_tile(float* tile, const float* state, int dk, int dv) {
  for (int i = 0; i < dk; ++i) store(tile + 16 * i, load(state + int64_t(i) * dv));
}
void store_tile(float* state, const float* tile, int dk, int dv) {
  for (int i = 0; i < dk; ++i) store(state + int64_t(i) * dv, load(tile + 16 * i));
}

// Rows first .. first + rows - 1 of one value head through its state.  Rows from `final` on leave
// the state alone and their delta and decay in the pending rows.
struct Block {
  int first, rows;
  const float *q, *k, *v, *beta, *decay;
};
void recur(const DeltaNet& a, const Segment& s, int key_head, int head, const Block& b, float* tile,
           float* o) {
  const int dk = a.dk, dv = a.dv;
  const int fold = b.first == 0 ? s.fold : 0;
  const int commit = s.final - b.first < b.rows ? s.final - b.first : b.rows;
  const int64_t pending = int64_t(s.slot) * a.pending;
  float* state = a.state + (int64_t(s.slot) * a.value_heads + head) * dk * dv;
  for (int column = 0; column < dv; column += 16) {
    float* deltas = a.pending_delta + (pending * a.value_heads + head) * dv + column;
    const int64_t delta_stride = int64_t(a.value_heads) * dv;
    load_tile(tile, state + column, dk, dv);
    for (int f = 0; f < fold; ++f)
      absorb(tile, a.pending_k + ((pending + f) * a.key_heads + key_head) * dk,
             load(deltas + f * delta_stride), a.pending_decay[(pending + f) * a.value_heads + head],
             dk);
    const bool changed = fold + commit > 0;
    for (int r = 0; r < b.rows; ++r) {
      if (r == commit && changed) store_tile(state + column, tile, dk, dv);
      const f32x16 delta = step(tile, b.k + r * dk, b.q + r * dk, load(b.v + r * dv + column),
                                b.beta[r], b.decay[r], dk, o + r * dv + column);
      if (r >= commit) store(deltas + (r - commit) * delta_stride, delta);
    }
    if (commit == b.rows && changed) store_tile(state + column, tile, dk, dv);
  }
  for (int r = commit; r < b.rows; ++r)
    a.pending_decay[(pending + r - commit) * a.value_heads + head] = b.decay[r];
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
      store(a.out + at + d, mul(mul(mul(load(o + d), inverse), load(a.norm_w + d)),
                                silu(load(a.z + at + d))));
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
      recur(a, s, key_head, head, Block{first, rows, q, k, v, beta, decay}, tile, o);
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
