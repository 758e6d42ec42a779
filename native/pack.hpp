// What kernels_pack.cpp and kernels_unpack.cpp give to the table of linear kernels (linear.hpp).
#pragma once

#include "linear.hpp"

namespace headlong::HEADLONG_ISA {

void pack_group(int source, const uint8_t* raw, size_t row_bytes, int rows, int cols, uint8_t* to);
void unpack_row(PackType type, const uint8_t* group, int lane, int cols, float* to);

}  // namespace headlong::HEADLONG_ISA
