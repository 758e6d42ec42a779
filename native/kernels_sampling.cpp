// Looking through rows of logits: maxima, sums of exponentials, and whose noise could win a draw.
#include "masks.hpp"
#include "noise.hpp"
#include "sampling.hpp"
#include "simd.hpp"

namespace headlong::HEADLONG_ISA {

// Up to 15 logits at the end of a row, filled up with -infinity.
static inline f32x16 load_rest(const float* x, int n) {
  alignas(64) float rest[16];
  for (int i = 0; i < 16; ++i) rest[i] = i < n ? x[i] : -__builtin_inff();
  return load(rest);
}

static bool copy_row(const float* x, int n, float* to) {
  const f32x16 top = splat(__FLT_MAX__);
  uint32_t bad = 0;
  int i = 0;
  for (; i + 16 <= n; i += 16) {
    const f32x16 a = load(x + i);
    bad |= above(a, top);
    if (to) store(to + i, a);
  }
  if (i < n) {
    bad |= above(load_rest(x + i, n - i), top);
    if (to) std::memcpy(to + i, x + i, size_t(n - i) * sizeof(float));
  }
  return bad != 0;
}

static float peak_row(const float* x, int n) {
  f32x16 a = splat(-__builtin_inff()), b = a, c = a, d = a;
  int i = 0;
  for (; i + 64 <= n; i += 64) {
    a = max(load(x + i), a);
    b = max(load(x + i + 16), b);
    c = max(load(x + i + 32), c);
    d = max(load(x + i + 48), d);
  }
  for (; i + 16 <= n; i += 16) a = max(load(x + i), a);
  if (i < n) b = max(load_rest(x + i, n - i), b);
  return reduce_max(max(max(a, b), max(c, d)));
}

static void offer_hits(const float* x, uint32_t hits, int32_t first, Best& best) {
  for (; hits; hits &= hits - 1) {
    const int lane = __builtin_ctz(hits);
    if (!(x[lane] <= best.threshold)) best.offer(x[lane], first + lane);
  }
}

static void offer_row(const float* x, int n, int32_t first, Best& best) {
  int i = 0;
  for (; i + 64 <= n; i += 64) {
    const f32x16 t = splat(best.threshold);
    const f32x16 a = load(x + i), b = load(x + i + 16), c = load(x + i + 32), d = load(x + i + 48);
    if (!(above(a, t) | above(b, t) | above(c, t) | above(d, t))) continue;
    for (int j = 0; j < 64; j += 16)
      offer_hits(x + i + j, above(load(x + i + j), splat(best.threshold)), first + i + j, best);
  }
  for (; i + 16 <= n; i += 16)
    offer_hits(x + i, above(load(x + i), splat(best.threshold)), first + i, best);
  if (i < n)
    offer_hits(x + i, above(load_rest(x + i, n - i), splat(best.threshold)), first + i, best);
}

// e^x for x <= 0 as in simd.hpp, but without fused operations: 0.693359375 has nine bits, so its
// product with n is exact, and the rest costs an ulp.
static inline f32x16 exp_plain(f32x16 x) {
  x = max(splat(-87.0f), x);
  const f32x16 n = round(mul(x, splat(1.44269504088896341f)));
  f32x16 r = sub(x, mul(n, splat(0.693359375f)));
  r = add(r, mul(n, splat(2.12194440e-4f)));
  f32x16 p = splat(1.0f / 5040.0f);
  p = add(mul(p, r), splat(1.0f / 720.0f));
  p = add(mul(p, r), splat(1.0f / 120.0f));
  p = add(mul(p, r), splat(1.0f / 24.0f));
  p = add(mul(p, r), splat(1.0f / 6.0f));
  p = add(mul(p, r), splat(0.5f));
  p = add(mul(p, r), splat(1.0f));
  p = add(mul(p, r), splat(1.0f));
  return mul(p, exp2_int(n));
}

// Columns whose exponentials add up as float before they join the sum in double.
constexpr int kSumRun = 1024;

static void exp_sums(const float* x, int n, float peak, double* sums) {
  const f32x16 top = splat(peak), least = splat(-87.0f);
  for (int from = 0; from < n; from += kSumRun) {
    const int end = n - from < kSumRun ? n : from + kSumRun;
    f32x16 sum = zero(), weighted = zero();
    for (int i = from; i < end; i += 16) {
      // -infinity times its weight would be NaN; what is below e^-87 counts as that.
      const f32x16 s =
          max(least, sub(i + 16 <= end ? load(x + i) : load_rest(x + i, end - i), top));
      const f32x16 e = exp_plain(s);
      sum = add(sum, e);
      weighted = add(weighted, mul(e, s));
    }
    sums[0] += double(reduce_add(sum));
    sums[1] += double(reduce_add(weighted));
  }
}

static int collect_places(const float* x, int n, float bound, int32_t* places) {
  const f32x16 least = splat(bound);
  int count = 0;
  for (int i = 0; i < n; i += 16) {
    const f32x16 a = i + 16 <= n ? load(x + i) : load_rest(x + i, n - i);
    uint32_t hits = 0xffffu & ~above(least, a);
    if (n - i < 16) hits &= (1u << (n - i)) - 1;
    for (; hits; hits &= hits - 1) places[count++] = i + __builtin_ctz(hits);
  }
  return count;
}

// A column's score exceeds the lead only where -log(u) < e^(z - lead), z = (x - peak) / T, and
// 1 - u <= -log(u).  Of 1 - u the upper 31 bits are compared, c <= (1 - u) 2^31; the factor makes up
// for the rounding of z and its exponential (1e-5), the one for c.  NaN (0 / 0) survives.
static int survivors(const float* x, const int32_t* ids, int32_t first, int n,
                     const DrawBound& bound, int32_t* places) {
  const f32x16 peak = splat(bound.peak), inverse = splat(bound.inverse_temperature);
  const f32x16 lead = splat(bound.lead), scale = splat(1.001f * 0x1p31f), one = splat(1.0f);
  // Noise reaches 36.74 at most.
  const f32x16 hopeless = splat(-37.0f);
  int count = 0;
  for (int i = 0; i < n; i += 16) {
    const f32x16 logits = i + 16 <= n ? load(x + i) : load_rest(x + i, n - i);
    const f32x16 z = sub(mul(sub(logits, peak), inverse), lead);
    if (!above(z, hopeless)) continue;
    const f32x16 limit = add(mul(exp(z), scale), one);
    alignas(64) int32_t rest[16];
    const int32_t* some = ids ? ids + i : nullptr;
    if (ids && n - i < 16) {
      for (int j = 0; j < 16; ++j) rest[j] = i + j < n ? ids[i + j] : 0;
      some = rest;
    }
    uint32_t hits = 0xffffu & ~above(complement_bits(bound.keys, some, first + i), limit);
    if (n - i < 16) hits &= (1u << (n - i)) - 1;
    for (; hits; hits &= hits - 1) places[count++] = i + __builtin_ctz(hits);
  }
  return count;
}

extern const SamplingKernels sampling_kernels;
const SamplingKernels sampling_kernels{copy_row, peak_row, offer_row, exp_sums, collect_places,
                                       survivors};

}  // namespace headlong::HEADLONG_ISA
