#include "best.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace headlong {

bool better(Candidate a, Candidate b) {
  const bool nan_a = std::isnan(a.logit), nan_b = std::isnan(b.logit);
  if (nan_a || nan_b) return nan_a && (!nan_b || a.id < b.id);
  return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

void Best::start(int k) {
  k_ = size_t(k);
  items_.clear();
  threshold = -std::numeric_limits<float>::infinity();
}

void Best::offer(float logit, int32_t id) {
  if (std::isnan(threshold)) return;  // k NaN already, and the first ones stay
  items_.push_back({logit, id});
  if (items_.size() >= 2 * k_) shrink();
}

// Twice k logits are collected before the lesser half goes: constant work per logit.
void Best::shrink() {
  if (items_.size() <= k_) return;
  std::nth_element(items_.begin(), items_.begin() + ptrdiff_t(k_ - 1), items_.end(), better);
  items_.resize(k_);
  threshold = items_.back().logit;
}

const std::vector<Candidate>& Best::finish() {
  shrink();
  std::sort(items_.begin(), items_.end(), better);
  return items_;
}

}  // namespace headlong
