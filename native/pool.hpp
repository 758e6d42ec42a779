// A persistent pool of threads.  A parallel region costs about a microsecond when it follows the
// last one closely (workers spin before they sleep), so that a pass of hundreds of regions is not
// dominated by waking threads.
//
// A region ends when its tasks are done, not when its threads have reported: a worker that the
// system has put aside for another process holds nobody up unless it is inside a task.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace headlong {

class Pool {
 public:
  // threads counts the caller: Pool(1) starts no thread.
  explicit Pool(int threads);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int threads() const { return threads_; }

  // Calls body(task, thread) once for each task in [0, tasks), from any thread, in any order, and
  // returns when all are done.  Results must not depend on the assignment: a task writes only
  // what no other task writes.  Calls from different threads are serialised.
  template <class Body>
  void run(int tasks, const Body& body) {
    run_erased(tasks, [](const void* ctx, int task, int thread) {
      (*static_cast<const Body*>(ctx))(task, thread);
    }, &body);
  }

  static constexpr int kMostTasks = (1 << 20) - 1;

 private:
  using Call = void (*)(const void*, int, int);
  void run_erased(int tasks, Call call, const void* ctx);
  void worker(int thread);
  void drain(uint64_t region, int thread);

  const int threads_;
  std::vector<std::thread> workers_;
  std::mutex callers_;
  // Valid while a task of the open region is claimed and not done.
  Call call_ = nullptr;
  const void* ctx_ = nullptr;
  // Number of the region (24 bits), its tasks (20), tasks claimed (20): one word, so that a claim
  // can only succeed in the region that it was meant for.
  alignas(64) std::atomic<uint64_t> state_{0};
  alignas(64) std::atomic<int> done_{0};
  // Region number again, alone, to sleep on.
  alignas(64) std::atomic<uint32_t> epoch_{0};
  std::atomic<bool> stop_{false};
};

}  // namespace headlong
