// The table of kernels that each instruction set fills.  kernels_*.cpp are compiled once per set,
// inside a namespace of that name; everything outside calls through this table.
#pragma once

#include "linear.hpp"
#include "sampling.hpp"
#include "sequence.hpp"

namespace headlong {

struct Kernels {
  const char* isa;
  LinearKernels linear;
  SequenceKernels sequence;
  SamplingKernels sampling;
};

// Names of the sets that this build has and this processor runs, slowest first.
// kernels_for(name) throws std::invalid_argument for any other name.
int supported_isas(const char** names, int capacity);
const Kernels& kernels_for(const char* isa);

}  // namespace headlong
