// Products with the types that have a float scale per 32 columns.
#include "products.hpp"

namespace headlong::HEADLONG_ISA {

template <class Q>
static GroupProduct instance(int rows) {
  return for_rows(rows, []<int N>(Rows<N>) -> GroupProduct { return block_group<Q, N>; });
}

GroupProduct block_product(PackType type, int rows) {
  switch (type) {
    case kQ8_0: return instance<BlockQ8_0>(rows);
    case kQ4_0: return instance<BlockQ4_0>(rows);
    case kQ4_1: return instance<BlockQ4_1>(rows);
    case kQ5_0: return instance<BlockQ5_0>(rows);
    case kQ5_1: return instance<BlockQ5_1>(rows);
    case kIQ4_NL: return instance<BlockIQ4_NL>(rows);
    case kMXFP4: return instance<BlockMXFP4>(rows);
    default: return nullptr;
  }
}

}  // namespace headlong::HEADLONG_ISA
