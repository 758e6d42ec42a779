// How often each token occurs in the window that penalties look at.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <utility>
#include <vector>

namespace headlong {

class WindowCounts {
 public:
  void add(int64_t token) {
    const auto [at, fresh] = places_.try_emplace(token, entries_.size());
    if (fresh) entries_.emplace_back(token, 0);
    ++entries_[at->second].second;
  }

  // False where the token is not there.
  bool drop(int64_t token) {
    const auto at = places_.find(token);
    if (at == places_.end()) return false;
    const size_t place = at->second;
    if (--entries_[place].second == 0) {
      places_[entries_.back().first] = place;
      entries_[place] = entries_.back();
      entries_.pop_back();
      places_.erase(token);
    }
    return true;
  }

  // Distinct tokens and their counts, in no particular order.
  const std::vector<std::pair<int64_t, int64_t>>& entries() const { return entries_; }

 private:
  std::unordered_map<int64_t, size_t> places_;
  std::vector<std::pair<int64_t, int64_t>> entries_;
};

}  // namespace headlong
