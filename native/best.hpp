// The best k of a stream of logits.
//
// Kept out of the kernels, which are compiled per instruction set: a logit that is offered here is
// one in hundreds, and code in a header would exist once per set under one name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace headlong {

struct Candidate {
  float logit;
  int32_t id;
};

// Higher logits first, equal ones by ascending id; NaN before all numbers, so that it is found.
bool better(Candidate a, Candidate b);

// Logits must come in ascending order of ids: of equal ones the first stays.
struct Best {
  // A logit not above it changes nothing; -infinity until there are k.
  float threshold = 0;

  void start(int k);
  void offer(float logit, int32_t id);
  // At most k, best first; valid until the next start.
  const std::vector<Candidate>& finish();

 private:
  void shrink();
  size_t k_ = 0;
  std::vector<Candidate> items_;
};

}  // namespace headlong
