#include "bind.hpp"

#include "backend.hpp"

namespace headlong {
void bind_linear(nanobind::module_&) {}
}  // namespace headlong
