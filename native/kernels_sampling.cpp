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

static float copy_row(const float* x, int n, float* to) {
  const f32x16 largest = splat(__FLT_MAX__);
  f32x16 top = splat(-__builtin_inff());
  uint32_t bad = 0;
  int i = 0;
  for (; i + 16 <= n; i += 16) {
    const f32x16 a = load(x + i);
    bad |= above(a, largest);
    top = max(a, top);
    if (to) store(to + i, a);
  }
  if (i < n) {
    const f32x16 a = load_rest(x + i, n - i);
    bad |= above(a, largest);
    top = max(a, top);
    if (to) std::memcpy(to + i, x + i, size_t(n - i) * sizeof(float));
  }
  return bad ? __builtin_nanf("") : reduce_max(top);
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

// e^x for -87 <= x <= 0 as in simd.hpp, but without fused operations: 0.693359375 has nine bits, so
// its product with n is exact.  Truncated after r^6: (ln2/2)^7/7! = 1.2e-7.
static inline f32x16 exp_plain(f32x16 x) {
  const f32x16 n = round(mul(x, splat(1.44269504088896341f)));
  f32x16 r = sub(x, mul(n, splat(0.693359375f)));
  r = add(r, mul(n, splat(2.12194440e-4f)));
  f32x16 p = splat(1.0f / 720.0f);
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

// What is below e^-87 counts as that: -infinity times its weight would be NaN.
static inline f32x16 below_peak(f32x16 a, f32x16 peak) { return max(splat(-87.0f), sub(a, peak)); }

// Even and odd vectors apart, so that two chains of additions run side by side.
template <bool kMean>
static void exp_sums(const float* x, int n, float peak, double* sums) {
  const f32x16 top = splat(peak);
  for (int from = 0; from < n; from += kSumRun) {
    const int end = n - from < kSumRun ? n : from + kSumRun;
    f32x16 sum[2] = {zero(), zero()}, weighted[2] = {zero(), zero()};
    const auto take = [&](int j, f32x16 a) {
      const f32x16 s = below_peak(a, top);
      const f32x16 e = exp_plain(s);
      sum[j] = add(sum[j], e);
      if constexpr (kMean) weighted[j] = add(weighted[j], mul(e, s));
    };
    int i = from;
    for (; i + 32 <= end; i += 32) {
      take(0, load(x + i));
      take(1, load(x + i + 16));
    }
    for (int j = 0; i < end; i += 16, j ^= 1)
      take(j, i + 16 <= end ? load(x + i) : load_rest(x + i, end - i));
    sums[0] += double(reduce_add(add(sum[0], sum[1])));
    if constexpr (kMean) sums[1] += double(reduce_add(add(weighted[0], weighted[1])));
  }
}

static void exp_masses(const float* x, int n, float peak, const float* bounds, double* sums) {
  const f32x16 top = splat(peak);
  f32x16 least[kBounds];
  for (int j = 0; j < kBounds; ++j) least[j] = splat(bounds[j]);
  for (int from = 0; from < n; from += kSumRun) {
    const int end = n - from < kSumRun ? n : from + kSumRun;
    f32x16 sum[1 + kBounds];
    for (f32x16& s : sum) s = zero();
    for (int i = from; i < end; i += 16) {
      const f32x16 a = i + 16 <= end ? load(x + i) : load_rest(x + i, end - i);
      const f32x16 e = exp_plain(below_peak(a, top));
      sum[0] = add(sum[0], e);
      for (int j = 0; j < kBounds; ++j)
        sum[1 + j] = add(sum[1 + j], keep_where(a, least[j], e));
    }
    for (int j = 0; j < 1 + kBounds; ++j) sums[j] += double(reduce_add(sum[j]));
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
// 1 - u <= -log(u).  Of 1 - u the upper 31 bits are compared: c <= (1 - u) 2^31.
//
// The exponential is bounded from above by a straight line between powers of two: the integer
// (y log2(e) + 127 + 31) 2^23 as the bits of a float is at least e^y 2^31 and at most 6 % more.
// kLine's last summand is worth 0.2 %, for the rounding of z (1e-5), of the line (2e-5) and of c.
constexpr float kLog2E = 1.44269504088896341f * 0x1p23f;
constexpr float kLine = (127 + 31) * 0x1p23f + 0.003f * 0x1p23f;

static inline f32x16 score_of(f32x16 logits, const DrawBound& bound) {
  return sub(mul(sub(logits, splat(bound.peak)), splat(bound.inverse_temperature)),
             splat(bound.lead));
}
static inline uint32_t chances(f32x16 y, f32x16 complement) {
  y = min(splat(60.0f), max(splat(-87.0f), y));
  const f32x16 limit = float_of_bits(add(mul(y, splat(kLog2E)), splat(kLine)));
  return 0xffffu & ~above(complement, add(limit, splat(1.0f)));
}

template <bool kListed>
static int survivors_of(const float* x, const int32_t* ids, int32_t first, int n,
                        const DrawBound& bound, int32_t* places) {
  const f32x16 hopeless = splat(-37.0f);  // noise reaches 36.74 at most
  int32_t some[16];
  for (int j = 0; j < 16; ++j) some[j] = first + j;
  Words words = words_of(bound.keys, some);
  int count = 0;
  for (int i = 0; i < n; i += 16) {
    const bool whole = i + 16 <= n;
    const f32x16 y = score_of(whole ? load(x + i) : load_rest(x + i, n - i), bound);
    if (above(y, hopeless)) {
      if constexpr (kListed) {
        if (!whole)
          for (int j = 0; j < n - i; ++j) some[j] = ids[i + j];
        words = words_of(bound.keys, whole ? ids + i : some);
      }
      uint32_t hits = chances(y, complement_bits(bound.keys, words));
      if (!whole) hits &= (1u << (n - i)) - 1;
      for (; hits; hits &= hits - 1) places[count++] = i + __builtin_ctz(hits);
    }
    if constexpr (!kListed) advance(words);
  }
  return count;
}

static int survivors(const float* x, const int32_t* ids, int32_t first, int n,
                     const DrawBound& bound, int32_t* places) {
  return ids ? survivors_of<true>(x, ids, first, n, bound, places)
             : survivors_of<false>(x, ids, first, n, bound, places);
}

extern const SamplingKernels sampling_kernels;
const SamplingKernels sampling_kernels{
    copy_row, peak_row, offer_row, exp_sums<false>, exp_sums<true>, exp_masses,
    collect_places, survivors,
};

}  // namespace headlong::HEADLONG_ISA
