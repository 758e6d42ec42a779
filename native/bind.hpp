#pragma once

#include <nanobind/nanobind.h>

namespace headlong {

void bind_linear(nanobind::module_& m);    // packing, embedding, norms, matrix products
void bind_sequence(nanobind::module_& m);  // KV cache, attention, gated delta-net

}  // namespace headlong
