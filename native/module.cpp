// headlong._native: what Python sees.  Each operation family binds itself in its own file.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "backend.hpp"
#include "bind.hpp"
#include "program.hpp"

namespace nb = nanobind;

namespace headlong {

std::vector<std::string> isas() {
  const char* names[8];
  const int n = supported_isas(names, 8);
  return {names, names + n};
}

}  // namespace headlong

NB_MODULE(_native, m) {
  using headlong::Backend;
  m.doc() = "Native CPU kernels of Headlong.";
  m.def("isas", &headlong::isas, "Instruction sets of this build that this processor runs, slowest first.");
  nb::class_<Backend>(m, "Backend", "A thread pool and the kernels of one instruction set.")
      .def("__init__",
           [](Backend* self, int threads, const std::string& isa) {
             if (threads < 1 || threads > 1024)
               throw std::invalid_argument("threads must lie in 1..1024");
             new (self) Backend(threads, isa);
           },
           nb::arg("threads"), nb::arg("isa"))
      .def("record",
           [](Backend& self, headlong::Program* program) {
             if (self.any_recording() && !(self.recording() && program == nullptr))
               throw std::invalid_argument("a program is being recorded");
             self.record(program);
           },
           nb::arg("program").none(),
           "Appends the operations that this thread performs to a program; None ends that.")
      .def_prop_ro("threads", [](const Backend& b) { return b.pool.threads(); })
      .def_prop_ro("isa", [](const Backend& b) { return std::string(b.kernels.isa); });
  headlong::bind_linear(m);
  headlong::bind_head(m);
  headlong::bind_sampler(m);
  headlong::bind_sequence(m);
  headlong::bind_batch(m);
  headlong::bind_program(m);
}
