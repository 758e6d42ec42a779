// A sequence of operations with checked arguments, run again in one call without the interpreter:
// on the CPU what a CUDA graph is on the GPU.
//
// While a Backend records, `perform` appends what it runs.  Pointers and shapes were checked when
// the operation was recorded; what depends on the contents of arrays (token ids, pages, slots,
// positions) is checked by the operation itself, in every run.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "arrays.hpp"
#include "backend.hpp"
#include "packed.hpp"

namespace headlong {

// Everything but the operations themselves runs with the GIL held.
class Program {
 public:
  using Operation = std::function<void(Backend&)>;

  Program() = default;
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  // Memory that lives as long as the program and holds what operations pass on to each other.
  void own(nanobind::handle block);
  // An array that every run first copies an argument into; `ragged`: the argument may have fewer
  // columns, and those beyond keep what they held.
  void input(nanobind::handle array, bool ragged);
  // What an operation points to, kept alive unless it lies in owned memory: the arrays of owned
  // memory come and go while the program is recorded, the memory stays.
  void keep(const Array& array);
  void keep(const std::optional<Array>& array) {
    if (array) keep(*array);
  }
  void keep(const Packed& weight) { kept_.push_back(nanobind::find(weight)); }
  void add(Operation operation) { operations_.push_back(std::move(operation)); }

  size_t operations() const { return operations_.size(); }
  // Copies the arguments, one for each input in order, and runs everything.  Throws
  // std::invalid_argument as the operations and their argument checks do.
  void run(Backend& backend, nanobind::tuple arguments);

 private:
  struct Input {
    std::string name;
    Array array;
    bool ragged;
  };
  struct Block {
    const char *begin, *end;
  };
  std::vector<std::unique_ptr<Input>> inputs_;
  std::vector<Block> blocks_;
  std::vector<nanobind::object> kept_;
  std::vector<Operation> operations_;
};

// Runs an operation without the GIL; `arguments` are the arrays and weights it points to.
template <class Operation, class... Arguments>
void perform(Backend& backend, const Operation& operation, const Arguments&... arguments) {
  {
    nanobind::gil_scoped_release release;
    operation(backend);
  }
  if (Program* program = backend.recording()) {
    (program->keep(arguments), ...);
    program->add(operation);
  }
}

}  // namespace headlong
