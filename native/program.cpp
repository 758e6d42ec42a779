#include "program.hpp"

#include <cstring>
#include <stdexcept>

#include "bind.hpp"

namespace nb = nanobind;

namespace headlong {

void Program::own(nb::handle block) {
  const Array bytes(block, "block", Dtype::any, Access::write);
  kept_.push_back(nb::borrow(block));
  blocks_.push_back({bytes.data<char>(), bytes.data<char>() + bytes.bytes()});
}

void Program::input(nb::handle array, bool ragged) {
  const std::string name = "argument " + std::to_string(inputs_.size());
  std::unique_ptr<Input> input(
      new Input{name, Array(array, name.c_str(), Dtype::any, Access::write), ragged});
  if (ragged && input->array.axes() != 2)
    throw std::invalid_argument(name + " must have two axes to be ragged");
  inputs_.push_back(std::move(input));
}

void Program::keep(const Array& array) {
  const char* at = array.data<char>();
  for (const Block& block : blocks_)
    if (at >= block.begin && at < block.end) return;
  kept_.push_back(nb::borrow(array.object()));
}

void Program::run(Backend& backend, nb::tuple arguments) {
  if (arguments.size() != inputs_.size())
    throw std::invalid_argument("the program takes " + std::to_string(inputs_.size()) +
                                " arguments, not " + std::to_string(arguments.size()));
  for (size_t i = 0; i < inputs_.size(); ++i) {
    const Input& input = *inputs_[i];
    const Array argument(arguments[i], input.name.c_str(), input.array);
    char* to = input.array.data<char>();
    if (!input.ragged) {
      if (!argument.same_shape(input.array))
        throw std::invalid_argument(input.name + " has not the shape that was recorded");
      std::memmove(to, argument.data<char>(), size_t(argument.bytes()));
      continue;
    }
    if (argument.axes() != 2 || argument.dim(0) != input.array.dim(0) ||
        argument.dim(1) > input.array.dim(1))
      throw std::invalid_argument(input.name + " does not fit the shape that was recorded");
    if (argument.dim(0) == 0) continue;
    const size_t row = size_t(argument.bytes() / argument.dim(0));
    const size_t pitch = size_t(input.array.bytes() / input.array.dim(0));
    for (int64_t r = 0; r < argument.dim(0); ++r)
      std::memmove(to + size_t(r) * pitch, argument.data<char>() + size_t(r) * row, row);
  }
  nb::gil_scoped_release release;
  for (const Operation& operation : operations_) operation(backend);
}

void bind_program(nb::module_& m) {
  nb::class_<Program>(m, "Program", "Operations that were recorded, to be run again in one call.")
      .def(nb::init<>())
      .def("own", &Program::own, nb::arg("block"),
           "Memory for what operations pass on to each other; it lives as long as the program.")
      .def("input", &Program::input, nb::arg("array"), nb::arg("ragged") = false,
           "An array that every run copies an argument into; `ragged` takes fewer columns too.")
      .def("run", &Program::run, nb::arg("backend"), nb::arg("arguments"),
           "Copies the arguments, one for each input, and runs every operation. Raises ValueError "
           "as the operations do, and for an argument of another shape or type than recorded.")
      .def_prop_ro("operations", &Program::operations);
}

}  // namespace headlong
