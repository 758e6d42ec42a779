// Products with the types that have integer scales inside superblocks of 256 columns.
#include "products.hpp"

namespace headlong::HEADLONG_ISA {

template <class Q>
static GroupProduct instance(int rows) {
  return for_rows(rows, []<int N>(Rows<N>) -> GroupProduct { return super_group<Q, N>; });
}

GroupProduct super_product(PackType type, int rows) {
  switch (type) {
    case kQ4_K: return instance<SuperQ4_K>(rows);
    case kQ5_K: return instance<SuperQ5_K>(rows);
    case kQ6_K: return instance<SuperQ6_K>(rows);
    case kQ2_K: return instance<SuperQ2_K>(rows);
    case kIQ4_XS: return instance<SuperIQ4_XS>(rows);
    default: return nullptr;
  }
}

}  // namespace headlong::HEADLONG_ISA
