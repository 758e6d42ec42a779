#include "linear.hpp"
#include "simd.hpp"

namespace headlong::HEADLONG_ISA {
extern const LinearKernels linear_kernels;
const LinearKernels linear_kernels{};
}  // namespace headlong::HEADLONG_ISA
