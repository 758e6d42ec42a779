#include "sampler.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace headlong {

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kLeast = std::numeric_limits<float>::lowest();

// A token that may be drawn.
struct Choice {
  float logit;
  int32_t id;
  double weight;    // e^(logit - peak)
  double distance;  // from the typical surprise
};

// One per calling thread, so that a draw allocates nothing once it has seen a row as long.
struct Scratch {
  std::vector<float> row, logits;
  std::vector<int32_t> places, ids;
  std::vector<Choice> choices;
  Best best;
};
thread_local Scratch scratch;

bool better(const Choice& a, const Choice& b) {
  return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}
bool more_typical(const Choice& a, const Choice& b) {
  return a.distance < b.distance || (a.distance == b.distance && better(a, b));
}

double mass_of(const std::vector<Choice>& choices) {
  double sum = 0;
  for (const Choice& c : choices) sum += c.weight;
  return sum;
}

// Cuts a list to the fewest that come first and whose weights reach `wanted`, without sorting more
// of them than that takes.
template <class Before>
void keep_first(std::vector<Choice>& choices, double wanted, Before before) {
  constexpr ptrdiff_t kSorted = 64;
  auto from = choices.begin(), end = choices.end();
  double sum = 0;
  while (end - from > kSorted) {
    const auto middle = from + (end - from) / 2;
    std::nth_element(from, middle, end, before);
    double half = sum;
    for (auto c = from; c != middle; ++c) half += c->weight;
    if (half >= wanted) {
      end = middle;
    } else {
      sum = half;
      from = middle;
    }
  }
  std::sort(from, end, before);
  while (from != end) {
    sum += from++->weight;
    if (sum >= wanted) break;
  }
  choices.erase(from, choices.end());
}

void keep_min_p(std::vector<Choice>& choices, double p) {
  double best = 0;
  for (const Choice& c : choices) best = std::max(best, c.weight);
  std::erase_if(choices, [&](const Choice& c) { return c.weight < p * best; });
}

// Distance of a surprise, -log(weight / total), from the mean surprise: that of the logits from
// their mean under the weights.
void keep_typical(std::vector<Choice>& choices, float peak, double mean, double wanted) {
  for (Choice& c : choices) c.distance = std::abs(double(c.logit) - peak - mean);
  keep_first(choices, wanted, more_typical);
}

int64_t refusal(const float* x, int n) {
  return std::any_of(x, x + n, [](float v) { return std::isnan(v); }) ? kNaN : kInfinite;
}

uint64_t mix(uint64_t w) {
  w = (w ^ (w >> 30)) * 0xBF58476D1CE4E5B9;
  w = (w ^ (w >> 27)) * 0x94D049BB133111EB;
  return w ^ (w >> 31);
}
// 2^64 over the golden ratio, made odd: multiples spread consecutive counters over all bits.
constexpr uint64_t kGamma = 0x9E3779B97F4A7C15;

// Column of an id, or -1.
int64_t column_of(const int32_t* ids, int n, int64_t id) {
  if (!ids) return id >= 0 && id < n ? id : -1;
  const int32_t* at = std::lower_bound(ids, ids + n, id);
  return at != ids + n && *at == id ? at - ids : -1;
}

}  // namespace

// A counter-based generator, as in Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC
// 2011), with the finaliser of SplitMix64 as its mixer (Steele, Lea, Flood, "Fast splittable
// pseudorandom number generators", OOPSLA 2014; variant 13 of Stafford, "Better bit mixing", 2011).
// Two keys, so that the streams of two positions are not one sequence read from two offsets.
NoiseKeys noise_keys(uint64_t seed, uint64_t position) {
  const uint64_t first = mix(seed + kGamma);
  return {first, mix(first ^ mix(position + 2 * kGamma))};
}

// 52 bits and a half: with 53 the greatest value would round to 1, whose noise is infinite.
double uniform(NoiseKeys keys, int64_t id) {
  const uint64_t word = mix(mix(uint64_t(id) * kGamma + keys.second) ^ keys.first);
  return (double(word >> 12) + 0.5) * 0x1p-52;
}

double gumbel(NoiseKeys keys, int64_t id) { return -std::log(-std::log(uniform(keys, id))); }

double log_sum(const SamplingKernels& kernels, const float* x, int n) {
  const float peak = kernels.peak(x, n);
  if (peak == -kInfinity) return -kInfinity;
  double sums[1] = {0};
  kernels.exp_sum(x, n, peak, sums);
  return double(peak) + std::log(sums[0]);
}

Sampler::Sampler(const SamplerSettings& settings, uint64_t seed, std::vector<int64_t> bans,
                 std::vector<int64_t> early, int64_t early_until, std::vector<Shift> shifts,
                 const SamplingKernels& kernels)
    : settings_(settings), seed_(seed), bans_(std::move(bans)), early_(std::move(early)),
      early_until_(early_until), shifts_(std::move(shifts)), kernels_(kernels) {}

bool Sampler::banned(int64_t id, int64_t position) const {
  const std::vector<int64_t>& bans = bans_at(position);
  return std::binary_search(bans.begin(), bans.end(), id);
}

// Bias, then penalties (Keskar et al., CTRL, 2019, section 4.1, with the sign corrected as everybody
// does; then count * frequency + presence), then bans.  `peak` is the largest logit, before and after.
// Returns 0, or why there is no token.
int64_t Sampler::patch(float* row, const int32_t* ids, int n, const WindowCounts* counts,
                       int64_t position, float& peak) const {
  bool peak_left = true;
  float highest = -kInfinity;
  const auto put = [&](int64_t column, float value) {
    // Also where a change before this one had raised the column above the peak.
    peak_left &= row[column] < peak;
    highest = std::max(highest, value);
    row[column] = value;
  };
  for (const Shift& s : shifts_) {
    const int64_t column = column_of(ids, n, s.id);
    if (column >= 0) put(column, row[column] + s.by);
  }
  if (counts) {
    for (const auto& [id, count] : counts->entries()) {
      const int64_t column = column_of(ids, n, id);
      if (column < 0) continue;
      double value = row[column];
      value = value > 0 ? value / settings_.repeat : value * settings_.repeat;
      value -= double(count) * settings_.frequency + settings_.presence;
      put(column, float(value));
      if (row[column] == kInfinity) return kInfinite;
    }
  }
  for (const int64_t id : bans_at(position)) {
    const int64_t column = column_of(ids, n, id);
    if (column >= 0) put(column, -kInfinity);
  }
  peak = peak_left ? std::max(peak, highest) : kernels_.peak(row, n);
  return 0;
}

int64_t Sampler::row(const float* x, const int32_t* ids, int n, const WindowCounts* counts,
                     int64_t position) const {
  const bool patched =
      !bans_at(position).empty() || !shifts_.empty() || (counts && !counts->entries().empty());
  if (patched) scratch.row.resize(size_t(n));
  float peak = kernels_.copy(x, n, patched ? scratch.row.data() : nullptr);
  if (std::isnan(peak)) return refusal(x, n);
  if (patched) {
    if (const int64_t why = patch(scratch.row.data(), ids, n, counts, position, peak)) return why;
    x = scratch.row.data();
  }
  if (peak == -kInfinity) return kNothing;
  const bool listed = greedy() || settings_.top_k > 0;
  if (!listed && settings_.typical_p == 1 && settings_.top_p == 1 && settings_.min_p == 0)
    return draw(x, ids, n, peak, position);
  scratch.choices.clear();
  if (!listed) {
    // Below this min-p drops everything; the rounding of the bound is some 1e-6.
    const float floor =
        settings_.min_p > 0 ? float(peak + std::log(settings_.min_p) - 0.01) : kLeast;
    if (settings_.typical_p < 1) {
      choose_typical(x, ids, n, peak);
    } else if (settings_.top_p < 1) {
      choose_nucleus(x, ids, n, peak, floor);
    } else {
      list(x, ids, n, peak, floor, kInfinity, true);
    }
    return filter_and_draw(position);
  }
  Best& best = scratch.best;
  best.start(greedy() ? 1 : int(std::min<int64_t>(settings_.top_k, n)));
  kernels_.offer(x, n, 0, best);
  for (const Candidate& c : best.finish())
    scratch.choices.push_back({c.logit, ids ? ids[c.id] : c.id, 0, 0});
  return filter_and_draw(position);
}

int64_t Sampler::best(const float* x, const int32_t* ids, int n, int64_t position) const {
  if (n > 0 && !(x[0] < kInfinity)) return refusal(x, n);
  const size_t most = greedy() ? 1 : size_t(std::min<int64_t>(settings_.top_k, n));
  scratch.choices.clear();
  for (int i = 0; i < n && ids[i] >= 0 && scratch.choices.size() < most; ++i)
    if (!banned(ids[i], position)) scratch.choices.push_back({x[i], ids[i], 0, 0});
  return filter_and_draw(position);
}

// Appends the columns of logits from `least` up, and below `end`, to the list.
void Sampler::list(const float* x, const int32_t* ids, int n, float peak, float least, float end,
                   bool weighed) const {
  scratch.places.resize(size_t(n));
  const int count = kernels_.collect(x, n, least, scratch.places.data());
  for (int i = 0; i < count; ++i) {
    const int32_t place = scratch.places[size_t(i)];
    if (x[place] >= end) continue;
    const double weight = weighed ? std::exp(double(x[place]) - peak) : 0;
    scratch.choices.push_back({x[place], ids ? ids[place] : place, weight, 0});
  }
}

// typical-p of a whole row: lists what is close to the mean, as widely as it takes.
void Sampler::choose_typical(const float* x, const int32_t* ids, int n, float peak) const {
  std::vector<Choice>& choices = scratch.choices;
  double sums[2] = {0, 0};
  kernels_.exp_mean(x, n, peak, sums);
  const double mean = sums[1] / sums[0], wanted = sums[0] * settings_.typical_p;
  for (double reach = 2;; reach *= 2) {
    const bool last = reach > 100;
    choices.clear();
    list(x, ids, n, peak, last ? kLeast : float(peak + mean - reach), kInfinity, true);
    double mass = 0;
    for (const Choice& c : choices)
      if (std::abs(double(c.logit) - peak - mean) <= reach) mass += c.weight;
    if (last || mass >= wanted) break;
  }
  keep_typical(choices, peak, mean, wanted);
}

// top-p of a whole row.  Mostly few logits near the peak hold the share.  Otherwise the last logit
// that stays is narrowed down by sweeps over the row, so that a flat row needs no sorting of what
// surely stays.  Nothing below `floor` is wanted.
void Sampler::choose_nucleus(const float* x, const int32_t* ids, int n, float peak,
                             float floor) const {
  constexpr float kNear = 10;
  constexpr int kFew = 4096;
  constexpr float kNarrow = 0.02f;  // of any row of 250,000 this holds some thousands
  constexpr int kSweeps = 5;        // from 24 to there, each to a fifth
  double sums[1 + kBounds] = {};
  kernels_.exp_sum(x, n, peak, sums);
  const double wanted = sums[0] * settings_.top_p;
  // It lies in [least, end), and what is above adds up to less than is wanted.
  float least = std::max(peak - kNear, floor), end = kInfinity;
  double above = 0;
  scratch.places.resize(size_t(n));
  const int count = kernels_.collect(x, n, least, scratch.places.data());
  double mass = 0;
  for (int i = 0; i < count && count <= kFew; ++i)
    mass += std::exp(double(x[scratch.places[size_t(i)]]) - peak);
  if (mass < wanted && least > floor) {
    float bounds[kBounds] = {peak - 4, peak - 8, peak - 16, peak - 32};
    least = kLeast;
    for (int sweep = 0; sweep <= kSweeps; ++sweep) {
      std::fill(std::begin(sums), std::end(sums), 0.0);
      kernels_.exp_masses(x, n, peak, bounds, sums);
      for (int j = 0; j < kBounds; ++j) {
        if (sums[1 + j] >= wanted) {
          least = bounds[j];
          break;
        }
        end = bounds[j];
        above = sums[1 + j];
      }
      const float top = std::min(end, peak), step = (top - least) / (kBounds + 1);
      if (least == kLeast || top - least <= kNarrow) break;
      for (int j = 0; j < kBounds; ++j) bounds[j] = top - step * float(j + 1);
    }
    least = std::max(least, floor);
  }
  if (least < end) {
    list(x, ids, n, peak, least, end, true);
    keep_first(scratch.choices, wanted - above,
               [](const Choice& a, const Choice& b) { return better(a, b); });
  }
  if (end < kInfinity)
    list(x, ids, n, peak, std::max(end, floor), kInfinity, settings_.min_p > 0);
}

int64_t Sampler::filter_and_draw(int64_t position) const {
  std::vector<Choice>& choices = scratch.choices;
  if (choices.empty()) return kNothing;
  if (greedy()) return choices.front().id;
  const bool listed = settings_.top_k > 0;  // else the first filter is done
  if (listed) {
    const float peak = choices.front().logit;
    double weighted = 0;
    for (Choice& c : choices) {
      const double below = double(c.logit) - peak;
      c.weight = std::exp(below);
      weighted += c.weight * below;
    }
    if (settings_.typical_p < 1) {
      const double total = mass_of(choices);
      keep_typical(choices, peak, weighted / total, settings_.typical_p * total);
    }
  }
  if (settings_.top_p < 1 && (listed || settings_.typical_p < 1))
    keep_first(choices, settings_.top_p * mass_of(choices),
               [](const Choice& a, const Choice& b) { return better(a, b); });
  if (settings_.min_p > 0) keep_min_p(choices, settings_.min_p);
  scratch.logits.clear();
  scratch.ids.clear();
  float peak = -kInfinity;
  for (const Choice& c : choices) {
    peak = std::max(peak, c.logit);
    scratch.logits.push_back(c.logit);
    scratch.ids.push_back(c.id);
  }
  return draw(scratch.logits.data(), scratch.ids.data(), int(choices.size()), peak, position);
}

// Gumbel-max; a tie goes to the lowest id.
int64_t Sampler::draw(const float* x, const int32_t* ids, int n, float peak,
                      int64_t position) const {
  const NoiseKeys keys = noise_keys(seed_, uint64_t(position));
  // Noise is at least -3.61, so the score of the peak is.
  double lead = -3.7;
  int64_t winner = kNothing;
  // A smaller factor than the true one lets more survive.
  const float inverse = float(std::min(1 / settings_.temperature, double(-kLeast)));
  int32_t places[kDrawRun];
  for (int from = 0; from < n; from += kDrawRun) {
    const int count =
        kernels_.survivors(x + from, ids ? ids + from : nullptr, from,
                           std::min(kDrawRun, n - from), {peak, inverse, float(lead), keys}, places);
    for (int i = 0; i < count; ++i) {
      const int place = from + places[i];
      const int64_t id = ids ? ids[place] : place;
      const double score = (double(x[place]) - peak) / settings_.temperature + gumbel(keys, id);
      if (score < lead || (score == lead && id >= winner)) continue;
      lead = score;
      winner = id;
    }
  }
  return winner;
}

}  // namespace headlong
