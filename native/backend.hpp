// What every native operation needs: threads, and the kernels of one instruction set.
#pragma once

#include <string>
#include <thread>

#include "kernels.hpp"
#include "pool.hpp"

namespace headlong {

class Program;

struct Backend {
  Pool pool;
  const Kernels& kernels;

  Backend(int threads, const std::string& isa) : pool(threads), kernels(kernels_for(isa.c_str())) {}

  // The program that the calling thread records, or null: other threads may use the backend
  // meanwhile, and what they do is not recorded.  With the GIL held, as the next two.
  Program* recording() const {
    return program_ && recorder_ == std::this_thread::get_id() ? program_ : nullptr;
  }
  bool any_recording() const { return program_ != nullptr; }
  void record(Program* program) {
    program_ = program;
    recorder_ = std::this_thread::get_id();
  }

 private:
  Program* program_ = nullptr;
  std::thread::id recorder_;
};

}  // namespace headlong
