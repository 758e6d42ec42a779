// The sampler chain of one request: from logits to a token, as a pure function.
//
// Bias, penalties, bans, top-k, typical-p, top-p, min-p, temperature, draw; sampling/chain.py says
// what each does.  Nothing here depends on the instruction set of the kernels or on threads.
#pragma once

#include <cstdint>
#include <vector>

#include "sampling.hpp"
#include "window_counts.hpp"

namespace headlong {

struct SamplerSettings {
  double temperature;  // 0 or less: the best logit wins
  int64_t top_k;       // 0 or less: all
  double top_p, min_p, typical_p;
  double repeat, frequency, presence;
};

struct Shift {
  int64_t id;
  float by;
};

// Why there is no token.
enum Refusal : int64_t { kNaN = -1, kInfinite = -2, kNothing = -3 };

class Sampler {
 public:
  // Bans ascend; those of `early` hold before the position `early_until`.
  Sampler(const SamplerSettings& settings, uint64_t seed, std::vector<int64_t> bans,
          std::vector<int64_t> early, int64_t early_until, std::vector<Shift> shifts,
          const SamplingKernels& kernels);

  // The token of a row of n >= 1 logits, or a Refusal.  Columns are the ids `ids`, ascending, or
  // 0, 1, ... where that is null.  counts: what penalties look at, or null.
  int64_t row(const float* x, const int32_t* ids, int n, const WindowCounts* counts,
              int64_t position) const;

  // The same from the best logits of a row, best first; an id of -1 ends them.  They must hold the
  // top_k best (one where the best logit wins) beside those that are banned here.
  int64_t best(const float* x, const int32_t* ids, int n, int64_t position) const;

 private:
  bool greedy() const { return settings_.temperature <= 0; }
  const std::vector<int64_t>& bans_at(int64_t position) const {
    return position < early_until_ ? early_ : bans_;
  }
  bool banned(int64_t id, int64_t position) const;
  int64_t patch(float* row, const int32_t* ids, int n, const WindowCounts* counts,
                int64_t position, float& peak) const;
  void list(const float* x, const int32_t* ids, int n, float peak, float least, float end,
            bool weighed) const;
  void choose_typical(const float* x, const int32_t* ids, int n, float peak) const;
  void choose_nucleus(const float* x, const int32_t* ids, int n, float peak, float floor) const;
  int64_t filter_and_draw(int64_t position) const;
  int64_t draw(const float* x, const int32_t* ids, int n, float peak, int64_t position) const;

  SamplerSettings settings_;
  uint64_t seed_;
  std::vector<int64_t> bans_, early_;
  int64_t early_until_;
  std::vector<Shift> shifts_;
  const SamplingKernels& kernels_;
};

// Noise of an id at a position (docs/lossless.md): u in the open interval (0, 1), -log(-log(u)).
NoiseKeys noise_keys(uint64_t seed, uint64_t position);
double uniform(NoiseKeys keys, int64_t id);
double gumbel(NoiseKeys keys, int64_t id);

// log(sum of e^x) over n >= 1 logits without NaN and +infinity.
double log_sum(const SamplingKernels& kernels, const float* x, int n);

}  // namespace headlong
