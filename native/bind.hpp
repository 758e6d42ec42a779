#pragma once

#include <nanobind/nanobind.h>

namespace headlong {

void bind_linear(nanobind::module_& m);    // packing, embedding, norms, matrix products
void bind_head(nanobind::module_& m);      // the best logits of an LM head
void bind_sampler(nanobind::module_& m);   // from logits to a token
void bind_sequence(nanobind::module_& m);  // KV cache, attention, gated delta-net
void bind_batch(nanobind::module_& m);     // rotary angles, last rows
void bind_program(nanobind::module_& m);   // recorded operations

}  // namespace headlong
