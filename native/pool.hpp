// A persistent pool of threads.  A parallel region costs about a microsecond when it follows the
// last one closely (workers spin before they sleep), so that a pass of hundreds of regions is not
// dominated by waking threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
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

 private:
  using Call = void (*)(const void*, int, int);
  void run_erased(int tasks, Call call, const void* ctx);
  void worker(int thread);
  void drain(int thread);

  const int threads_;
  std::vector<std::thread> workers_;
  std::mutex callers_;
  Call call_ = nullptr;
  const void* ctx_ = nullptr;
  int tasks_ = 0;
  alignas(64) std::atomic<uint32_t> epoch_{0};
  alignas(64) std::atomic<int> next_{0};
  alignas(64) std::atomic<int> busy_{0};
  std::atomic<bool> stop_{false};
};

}  // namespace headlong
