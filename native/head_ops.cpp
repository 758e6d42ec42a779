#include "head_ops.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace headlong {

namespace {

// Row groups of one task: 512 logits a row, which stay in L1 between product and search (8 rows:
// 16 KiB).  Sums of exponentials are taken task by task, so it also fixes their order.
constexpr int kRunGroups = 32;
constexpr int kRunLogits = kRunGroups * kLanes;
// Bytes of weights that stay in L2 while several chunks of rows pass.
constexpr size_t kL2Weights = 256 << 10;
// Rows that read the weights together.
constexpr int kRowBlock = 64;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// e^(logit - peak) summed over one task's logits.
struct PartialSum {
  float peak;
  double sum;
};

// One per calling thread, so that a call allocates nothing once it has seen one as large.
struct Scratch {
  std::vector<int32_t> quantised;
  std::vector<float> logits;
  std::vector<Best> bests;
  std::vector<PartialSum> sums;
  std::vector<Candidate> merged;
};
thread_local Scratch scratch;

Activations prepare(const LinearKernels& k, const Packed& w, const float* x, int rows) {
  Activations a{rows, w.cols, nullptr, x};
  if (kTypeInfo[w.type].floating) return a;
  scratch.quantised.resize(size_t(rows) * superblocks(w.cols) * activation::kWords + 16);
  // Kernels load whole cache lines of words.
  const uintptr_t at = reinterpret_cast<uintptr_t>(scratch.quantised.data());
  a.quantised = scratch.quantised.data() + (to_line(at) - at) / sizeof(int32_t);
  k.quantise(x, nullptr, 0.0f, rows, w.cols, 0, rows, a.quantised);
  return a;
}

// NaN and +infinity stay: they are a fault that must be found.
void forbid(float* logits, int count, const uint8_t* allowed) {
  for (int i = 0; i < count; i += 8) {
    const uint8_t bits = allowed[i / 8];
    if (bits == 0xff) continue;
    for (int lane = 0; lane < 8 && i + lane < count; ++lane)
      if (!(bits >> lane & 1) && logits[i + lane] < kInfinity) logits[i + lane] = -kInfinity;
  }
}

double log_sum(const PartialSum* sums, int count, int stride) {
  float peak = -kInfinity;
  for (int i = 0; i < count; ++i) peak = std::max(peak, sums[size_t(i) * stride].peak);
  if (peak == -kInfinity) return -kInfinity;
  double total = 0;
  for (int i = 0; i < count; ++i) {
    const PartialSum& s = sums[size_t(i) * stride];
    if (s.peak > -kInfinity) total += s.sum * std::exp(double(s.peak) - peak);
  }
  return peak + std::log(total);
}

void best_block(Backend& backend, const Packed& w, const HeadRows& head) {
  const LinearKernels& linear = backend.kernels.linear;
  const SamplingKernels& sampling = backend.kernels.sampling;
  const int rows = head.rows, threads = backend.pool.threads();
  const Activations a = prepare(linear, w, head.x, rows);
  const size_t bytes = group_bytes(w.type, w.cols);
  const int most =
      rows > linear.chunk_rows ? int(std::max<size_t>(kL2Weights / bytes, 1)) : kRunGroups;
  const int runs = (w.groups() + kRunGroups - 1) / kRunGroups;
  Scratch& s = scratch;  // of the caller: its workers must not use their own
  s.logits.resize(size_t(threads) * rows * kRunLogits);
  s.bests.resize(std::max(s.bests.size(), size_t(threads) * rows));
  for (int i = 0; i < threads * rows; ++i) s.bests[size_t(i)].start(head.k);
  if (head.log_sums) s.sums.resize(size_t(runs) * rows);
  // A thread takes tasks in ascending order, so it sees ids in ascending order.
  backend.pool.run(runs, [&](int run, int thread) {
    float* logits = s.logits.data() + size_t(thread) * rows * kRunLogits;
    const int first = run * kRunGroups, groups = std::min(kRunGroups, w.groups() - first);
    const int left = w.rows - first * kLanes, count = std::min(left, kRunLogits);
    for (int g = 0; g < groups; g += most)
      linear.multiply({w.type, w.cols, left, g, std::min(most, groups - g),
                       w.data + size_t(first) * bytes},
                      a, nullptr, logits, kRunLogits);
    for (int r = 0; r < rows; ++r, logits += kRunLogits) {
      if (head.allowed) forbid(logits, count, head.allowed + size_t(first) * kLanes / 8);
      sampling.offer(logits, count, first * kLanes, s.bests[size_t(thread) * rows + r]);
      if (!head.log_sums) continue;
      PartialSum& partial = s.sums[size_t(run) * rows + r];
      double sums[1] = {0};
      partial.peak = sampling.peak(logits, count);
      if (partial.peak > -kInfinity) sampling.exp_sum(logits, count, partial.peak, sums);
      partial.sum = sums[0];
    }
  });
  for (int r = 0; r < rows; ++r) {
    s.merged.clear();
    for (int t = 0; t < threads; ++t) {
      const std::vector<Candidate>& found = s.bests[size_t(t) * rows + r].finish();
      s.merged.insert(s.merged.end(), found.begin(), found.end());
    }
    std::sort(s.merged.begin(), s.merged.end(), better);
    for (int i = 0; i < head.k; ++i) {
      const bool there = size_t(i) < s.merged.size();
      head.values[size_t(r) * head.k + i] = there ? s.merged[size_t(i)].logit : -kInfinity;
      head.ids[size_t(r) * head.k + i] = there ? s.merged[size_t(i)].id : -1;
    }
    if (head.log_sums) head.log_sums[r] = log_sum(s.sums.data() + r, runs, rows);
  }
}

}  // namespace

void best_rows(Backend& backend, const Packed& weight, const HeadRows& head) {
  for (int first = 0; first < head.rows; first += kRowBlock) {
    HeadRows block = head;
    block.x += size_t(first) * weight.cols;
    block.rows = std::min(kRowBlock, head.rows - first);
    block.values += size_t(first) * head.k;
    block.ids += size_t(first) * head.k;
    if (block.log_sums) block.log_sums += first;
    best_block(backend, weight, block);
  }
}

}  // namespace headlong
