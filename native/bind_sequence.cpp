#include "bind.hpp"

#include "backend.hpp"

namespace headlong {
void bind_sequence(nanobind::module_&) {}
}  // namespace headlong
