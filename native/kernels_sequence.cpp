// The table of sequence kernels of one instruction set.
#include "sequence.hpp"

namespace headlong::HEADLONG_ISA {

void kv_store(const KvStore&, int segment, int first, int rows);
void attend(const Attend&, const AttendUnit&, float* scratch);
void attend_chunk(const Attend&, const AttendUnit&, int chunk, float* scratch, float* partials);
void combine(const Attend&, const AttendUnit&, int row, float* partials);
void delta_net(const DeltaNet&, int segment, int key_head, float* scratch);

extern const SequenceKernels sequence_kernels;
const SequenceKernels sequence_kernels{kv_store, attend, attend_chunk, combine, delta_net};

}  // namespace headlong::HEADLONG_ISA
