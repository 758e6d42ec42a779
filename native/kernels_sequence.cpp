#include "sequence.hpp"
#include "simd.hpp"

namespace headlong::HEADLONG_ISA {
extern const SequenceKernels sequence_kernels;
const SequenceKernels sequence_kernels{};
}  // namespace headlong::HEADLONG_ISA
