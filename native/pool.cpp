#include "pool.hpp"

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#define HEADLONG_RELAX() _mm_pause()
#else
#define HEADLONG_RELAX() std::this_thread::yield()
#endif

namespace headlong {

namespace {
// About 40 us of pauses: longer than the gap between two operations of a pass, shorter than what
// a user would notice as an idle process using a core.
constexpr int kSpins = 2000;
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

void Pool::drain(int thread) {
  for (;;) {
    const int task = next_.fetch_add(1, std::memory_order_relaxed);
    if (task >= tasks_) return;
    call_(ctx_, task, thread);
  }
}

void Pool::worker(int thread) {
  uint32_t seen = 0;
  for (;;) {
    uint32_t now = epoch_.load(std::memory_order_acquire);
    for (int spin = 0; now == seen && spin < kSpins; ++spin) {
      HEADLONG_RELAX();
      now = epoch_.load(std::memory_order_acquire);
    }
    while (now == seen) {
      epoch_.wait(seen, std::memory_order_acquire);
      now = epoch_.load(std::memory_order_acquire);
    }
    seen = now;
    if (stop_.load(std::memory_order_relaxed)) return;
    drain(thread);
    if (busy_.fetch_sub(1, std::memory_order_acq_rel) == 1) busy_.notify_one();
  }
}

void Pool::run_erased(int tasks, Call call, const void* ctx) {
  std::lock_guard<std::mutex> lock(callers_);
  if (threads_ == 1 || tasks <= 1) {
    for (int task = 0; task < tasks; ++task) call(ctx, task, 0);
    return;
  }
  call_ = call;
  ctx_ = ctx;
  tasks_ = tasks;
  next_.store(0, std::memory_order_relaxed);
  busy_.store(threads_ - 1, std::memory_order_relaxed);
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  drain(0);
  int left = busy_.load(std::memory_order_acquire);
  for (int spin = 0; left != 0 && spin < kSpins; ++spin) {
    HEADLONG_RELAX();
    left = busy_.load(std::memory_order_acquire);
  }
  while (left != 0) {
    busy_.wait(left, std::memory_order_acquire);
    left = busy_.load(std::memory_order_acquire);
  }
}

}  // namespace headlong
