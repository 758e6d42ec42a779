#include "pool.hpp"

#include <stdexcept>

namespace headlong {

namespace {

// About 80 us: longer than the bookkeeping between two passes of a small model, since waking a
// sleeping thread costs as much as a few of its operations, and shorter than what a user would
// notice as an idle process using a core.
constexpr int kSpins = 40000;

// Some two nanoseconds without touching memory.  Not the processor's pause instruction: hosts of
// virtual machines count pauses and take the processor away from who makes too many of them (the
// bundled model's pass took 0.48 ms with pauses, 0.37 ms with this).
inline void wait_a_little() {
  asm volatile(
      "nop\n nop\n nop\n nop\n nop\n nop\n nop\n nop\n"
      "nop\n nop\n nop\n nop\n nop\n nop\n nop\n nop\n"
      "nop\n nop\n nop\n nop\n nop\n nop\n nop\n nop\n"
      "nop\n nop\n nop\n nop\n nop\n nop\n nop\n nop\n");
}

constexpr int kClaimedBits = 20, kTaskBits = 20;
constexpr uint64_t kMask = (1u << kClaimedBits) - 1;

constexpr uint64_t open_region(uint32_t number, int tasks) {
  return (uint64_t(number) << (kClaimedBits + kTaskBits)) | (uint64_t(tasks) << kClaimedBits);
}
constexpr int claimed(uint64_t state) { return int(state & kMask); }
constexpr int tasks_of(uint64_t state) { return int((state >> kClaimedBits) & kMask); }
constexpr uint64_t region_of(uint64_t state) { return state >> kClaimedBits; }

}  // namespace

Pool::Pool(int threads) : threads_(threads) {
  workers_.reserve(static_cast<size_t>(threads - 1));
  for (int t = 1; t < threads; ++t) workers_.emplace_back([this, t] { worker(t); });
}

Pool::~Pool() {
  stop_.store(true, std::memory_order_relaxed);
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  for (auto& w : workers_) w.join();
}

void Pool::drain(uint64_t region, int thread) {
  uint64_t state = state_.load(std::memory_order_acquire);
  for (;;) {
    if (region_of(state) != region || claimed(state) >= tasks_of(state)) return;
    if (!state_.compare_exchange_weak(state, state + 1, std::memory_order_acq_rel,
                                      std::memory_order_acquire))
      continue;
    call_(ctx_, claimed(state), thread);
    if (done_.fetch_add(1, std::memory_order_acq_rel) + 1 == tasks_of(state)) done_.notify_one();
    state = state_.load(std::memory_order_acquire);
  }
}

void Pool::worker(int thread) {
  uint32_t seen = 0;
  for (;;) {
    uint32_t now = epoch_.load(std::memory_order_acquire);
    for (int spin = 0; now == seen && spin < kSpins; ++spin) {
      wait_a_little();
      now = epoch_.load(std::memory_order_acquire);
    }
    while (now == seen) {
      epoch_.wait(seen, std::memory_order_acquire);
      now = epoch_.load(std::memory_order_acquire);
    }
    seen = now;
    if (stop_.load(std::memory_order_relaxed)) return;
    drain(region_of(state_.load(std::memory_order_acquire)), thread);
  }
}

void Pool::run_erased(int tasks, Call call, const void* ctx) {
  if (tasks > kMostTasks) throw std::length_error("too many tasks in one parallel region");
  std::lock_guard<std::mutex> lock(callers_);
  if (threads_ == 1 || tasks <= 1) {
    for (int task = 0; task < tasks; ++task) call(ctx, task, 0);
    return;
  }
  call_ = call;
  ctx_ = ctx;
  done_.store(0, std::memory_order_relaxed);
  const uint32_t number = epoch_.load(std::memory_order_relaxed) + 1;
  const uint64_t state = open_region(number & 0xffffffu, tasks);
  state_.store(state, std::memory_order_release);
  epoch_.store(number, std::memory_order_release);
  epoch_.notify_all();
  drain(region_of(state), 0);
  int done = done_.load(std::memory_order_acquire);
  for (int spin = 0; done != tasks && spin < kSpins; ++spin) {
    wait_a_little();
    done = done_.load(std::memory_order_acquire);
  }
  while (done != tasks) {
    done_.wait(done, std::memory_order_acquire);
    done = done_.load(std::memory_order_acquire);
  }
}

}  // namespace headlong
