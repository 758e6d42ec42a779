// What every native operation needs: threads, and the kernels of one instruction set.
#pragma once

#include <string>

#include "kernels.hpp"
#include "pool.hpp"

namespace headlong {

struct Backend {
  Pool pool;
  const Kernels& kernels;

  Backend(int threads, const std::string& isa) : pool(threads), kernels(kernels_for(isa.c_str())) {}
};

}  // namespace headlong
