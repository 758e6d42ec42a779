#pragma once

#include <nanobind/nanobind.h>

namespace headlong {

void bind_linear(nanobind::module_& m);    // packing, embedding, norms, matrix products
void bind_sequence(nanobind::module_& m);  // KV cache, attention, gated delta-net
void bind_batch(nanobind::module_& m);     // rotary angles, last rows
void bind_program(nanobind::module_& m);   // recorded operations

}  // namespace headlong
