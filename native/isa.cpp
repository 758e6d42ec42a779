#include <cstring>
#include <stdexcept>
#include <string>

#include "kernels.hpp"

namespace headlong {

#define HEADLONG_DECLARE(isa)                  \
  namespace isa {                              \
  extern const LinearKernels linear_kernels;   \
  extern const SequenceKernels sequence_kernels; \
  extern const SamplingKernels sampling_kernels; \
  }
HEADLONG_DECLARE(portable)
#ifdef HEADLONG_X86
HEADLONG_DECLARE(avx2)
HEADLONG_DECLARE(avx512)
#endif

namespace {

struct Entry {
  Kernels kernels;
  bool supported;
};

#ifdef HEADLONG_X86
bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("f16c");
}
bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vnni");
}
#endif

struct Table {
  Entry entries[3];
  int count = 0;

  Table() {
    entries[count++] = {{"portable", portable::linear_kernels, portable::sequence_kernels,
                          portable::sampling_kernels},
                         true};
#ifdef HEADLONG_X86
    entries[count++] = {{"avx2", avx2::linear_kernels, avx2::sequence_kernels,
                          avx2::sampling_kernels},
                         has_avx2()};
    entries[count++] = {{"avx512", avx512::linear_kernels, avx512::sequence_kernels,
                          avx512::sampling_kernels},
                         has_avx512()};
#endif
  }
};

const Table& table() {
  static const Table t;
  return t;
}

}  // namespace

int supported_isas(const char** names, int capacity) {
  int n = 0;
  for (int i = 0; i < table().count && n < capacity; ++i)
    if (table().entries[i].supported) names[n++] = table().entries[i].kernels.isa;
  return n;
}

const Kernels& kernels_for(const char* isa) {
  for (int i = 0; i < table().count; ++i) {
    const Entry& e = table().entries[i];
    if (std::strcmp(e.kernels.isa, isa) == 0 && e.supported) return e.kernels;
  }
  throw std::invalid_argument(std::string("instruction set '") + isa +
                              "' is not in this build or not on this processor");
}

}  // namespace headlong
