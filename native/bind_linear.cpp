// Python face of the linear operations: checks every argument, then performs (program.hpp) what
// linear_ops does.
#include "bind.hpp"

#include <nanobind/stl/string.h>

#include <array>
#include <optional>
#include <string>

#include "arrays.hpp"
#include "linear_ops.hpp"
#include "program.hpp"

namespace nb = nanobind;

namespace headlong {

namespace {

[[noreturn]] void refuse(const std::string& why) { throw std::invalid_argument(why); }

// A parallel region has at most 2^20 tasks, and some operations make a task of every row.
int row_count(const char* name, int64_t rows) {
  if (rows >= (1 << 20)) refuse(std::string(name) + " needs fewer than 2^20 rows");
  return int(rows);
}

int col_count(const char* name, int64_t cols) {
  if (cols < 1 || cols > (1 << 30)) refuse(std::string(name) + " needs 1..2^30 columns");
  return int(cols);
}

void expect_filled(const char* name, const Packed& w) {
  if (w.filled != w.rows)
    refuse(std::string(name) + ": only " + std::to_string(w.filled) + " of " +
           std::to_string(w.rows) + " rows are filled");
}

void expect_cols(const char* name, const Packed& w, int64_t cols) {
  if (w.cols != cols)
    refuse(std::string(name) + " has " + std::to_string(w.cols) + " columns, needs " +
           std::to_string(cols));
}

bool overlap(const Array& a, const Array& b) {
  const char *p = a.data<char>(), *q = b.data<char>();
  return p < q + b.bytes() && q < p + a.bytes();
}

// An argument that may be None.
struct OptionalNorm {
  std::optional<Array> array;
  OptionalNorm(nb::handle norm, int64_t cols) {
    if (!norm.is_none())
      array.emplace(norm, "norm", Dtype::f32, std::initializer_list<int64_t>{cols});
  }
  const float* data() const { return array ? array->f32() : nullptr; }
};

void py_fill(Packed& packed, Backend& backend, nb::handle raw_rows, int64_t first_row) {
  const Array raw(raw_rows, "raw_rows", Dtype::u8);
  const size_t row_bytes = source_row_bytes(packed.source, packed.cols);
  const int64_t rows = raw.bytes() / int64_t(row_bytes);
  if (raw.bytes() % int64_t(row_bytes) || rows == 0)
    refuse("raw_rows: " + std::to_string(raw.bytes()) + " bytes are not whole rows of " +
           std::to_string(row_bytes) + " bytes");
  if (first_row != packed.filled)
    refuse("first_row: rows are filled in order, row " + std::to_string(packed.filled) +
           " comes next, not " + std::to_string(first_row));
  if (rows > packed.rows - first_row)
    refuse("raw_rows: " + std::to_string(rows) + " rows from row " + std::to_string(first_row) +
           " go past the " + std::to_string(packed.rows) + " rows of the matrix");
  if (first_row + rows != packed.rows && rows % kLanes)
    refuse("raw_rows: " + std::to_string(rows) +
           " rows; all but the last call need a multiple of 16");
  nb::gil_scoped_release release;
  fill(backend, packed, raw.data<const uint8_t>(), int(first_row), int(rows));
}

Packed py_pack(Backend& backend, nb::handle raw_bytes, int type, int64_t rows, int64_t cols) {
  if (pack_type_of(type) < 0)
    refuse("type: ggml type " + std::to_string(type) + " has no packed form");
  const Array raw(raw_bytes, "raw", Dtype::u8);
  // Compare before allocating: the shape may be a lie of the file.
  if (rows < 1 || cols < 1 || cols > (1 << 30) || rows > (1 << 30) ||
      int64_t(source_row_bytes(type, int(cols))) * rows != raw.bytes())
    refuse("raw: " + std::to_string(raw.bytes()) + " bytes are not " + std::to_string(rows) +
           " rows of " + std::to_string(cols) + " " + source_name(type) + " weights");
  Packed packed(type, rows, cols);
  nb::gil_scoped_release release;
  fill(backend, packed, raw.data<const uint8_t>(), 0, packed.rows);
  return packed;
}

void py_unpack_rows(Backend& backend, const Packed& weight, nb::handle ids_, nb::handle out_) {
  const Array ids(ids_, "ids", Dtype::i32, {-1});
  const Array out(out_, "out", Dtype::f32, {ids.dim(0), weight.cols}, Access::write);
  expect_filled("weight", weight);
  const int count = row_count("ids", ids.dim(0));
  const auto run = [&weight, id = ids.i32(), count, to = out.f32()](Backend& b) {
    for (int i = 0; i < count; ++i)
      if (id[i] < 0 || id[i] >= weight.rows)
        refuse("ids: row " + std::to_string(id[i]) + " is not in 0.." +
               std::to_string(weight.rows - 1));
    unpack_rows(b, weight, id, count, to);
  };
  perform(backend, run, weight, ids, out);
}

void py_rms_norm(Backend& backend, nb::handle x_, nb::handle weight_, float eps, nb::handle out_) {
  const Array x(x_, "x", Dtype::f32, {-1, -1});
  const Array weight(weight_, "weight", Dtype::f32, {x.dim(1)});
  const Array out(out_, "out", Dtype::f32, {x.dim(0), x.dim(1)}, Access::write);
  const int rows = row_count("x", x.dim(0)), cols = col_count("x", x.dim(1));
  if (out.f32() != x.f32() && overlap(out, x)) refuse("out must be x or not overlap it");
  const auto run = [from = x.f32(), rows, cols, by = weight.f32(), eps, to = out.f32()](Backend& b) {
    rms_norm(b, from, rows, cols, by, eps, to);
  };
  perform(backend, run, x, weight, out);
}

void py_norm_join(Backend& backend, nb::handle a_, nb::handle a_weight_, nb::handle b_,
                  nb::handle b_weight_, float eps, nb::handle out_) {
  const Array a(a_, "a", Dtype::f32, {-1, -1});
  const int rows = row_count("a", a.dim(0)), cols = col_count("a", a.dim(1));
  const Array a_weight(a_weight_, "a_weight", Dtype::f32, {cols});
  const Array b(b_, "b", Dtype::f32, {rows, cols});
  const Array b_weight(b_weight_, "b_weight", Dtype::f32, {cols});
  const Array out(out_, "out", Dtype::f32, {rows, 2 * int64_t(cols)}, Access::write);
  if (overlap(out, a) || overlap(out, b)) refuse("out must not overlap a or b");
  const auto run = [left = a.f32(), left_by = a_weight.f32(), right = b.f32(),
                    right_by = b_weight.f32(), rows, cols, eps, to = out.f32()](Backend& on) {
    norm_join(on, left, left_by, right, right_by, rows, cols, eps, to);
  };
  perform(backend, run, a, a_weight, b, b_weight, out);
}

constexpr int kMostOutputs = 16;

void py_linear(Backend& backend, nb::handle x_, nb::handle norm_, float eps, nb::list weights,
               nb::list outs) {
  const Array x(x_, "x", Dtype::f32, {-1, -1});
  const int rows = row_count("x", x.dim(0)), cols = col_count("x", x.dim(1));
  const OptionalNorm norm(norm_, cols);
  const size_t count = nb::len(weights);
  if (count == 0 || count > size_t(kMostOutputs) || nb::len(outs) != count)
    refuse("weights and outs must be lists of equal length, 1..16");
  std::optional<Array> arrays[kMostOutputs];
  std::array<Output, kMostOutputs> outputs;
  for (size_t i = 0; i < count; ++i) {
    const Packed& w = nb::cast<const Packed&>(weights[i]);
    expect_cols("weights", w, cols);
    expect_filled("weights", w);
    const Array& out = arrays[i].emplace(outs[i], "outs", Dtype::f32,
                                         std::initializer_list<int64_t>{rows, w.rows},
                                         Access::write);
    if (overlap(out, x)) refuse("outs must not overlap x");
    for (size_t j = 0; j < i; ++j)
      if (overlap(out, *arrays[j])) refuse("outs must not overlap each other");
    outputs[i] = {&w, out.f32(), nullptr};
  }
  const auto run = [from = x.f32(), rows, cols, by = norm.data(), eps, outputs,
                    count](Backend& b) {
    linear(b, from, rows, cols, by, eps, outputs.data(), int(count));
  };
  perform(backend, run, x, norm.array);
  if (Program* program = backend.recording())
    for (size_t i = 0; i < count; ++i) {
      program->keep(*outputs[i].weight);
      program->keep(arrays[i]);
    }
}

void py_linear_add(Backend& backend, nb::handle x_, const Packed& weight, nb::handle residual_,
                   nb::handle out_) {
  const Array x(x_, "x", Dtype::f32, {-1, -1});
  const int rows = row_count("x", x.dim(0));
  expect_cols("weight", weight, x.dim(1));
  expect_filled("weight", weight);
  const Array residual(residual_, "residual", Dtype::f32, {rows, weight.rows});
  const Array out(out_, "out", Dtype::f32, {rows, weight.rows}, Access::write);
  if (overlap(out, x)) refuse("out must not overlap x");
  if (out.f32() != residual.f32() && overlap(out, residual))
    refuse("out must be residual or not overlap it");
  const Output output{&weight, out.f32(), residual.f32()};
  const auto run = [from = x.f32(), rows, cols = weight.cols, output](Backend& b) {
    linear(b, from, rows, cols, nullptr, 0.0f, &output, 1);
  };
  perform(backend, run, x, weight, residual, out);
}

void py_ffn(Backend& backend, nb::handle x_, nb::handle norm_, float eps, const Packed& gate,
            const Packed& up, const Packed& down, nb::handle out_) {
  const Array x(x_, "x", Dtype::f32, {-1, -1});
  const int rows = row_count("x", x.dim(0)), cols = col_count("x", x.dim(1));
  const Array norm(norm_, "norm", Dtype::f32, {cols});
  const Array out(out_, "out", Dtype::f32, {rows, cols}, Access::write);
  expect_cols("gate", gate, cols);
  expect_cols("up", up, cols);
  expect_cols("down", down, gate.rows);
  if (up.rows != gate.rows) refuse("up must have as many rows as gate");
  if (down.rows != cols) refuse("down must have as many rows as x has columns");
  expect_filled("gate", gate);
  expect_filled("up", up);
  expect_filled("down", down);
  if (out.f32() != x.f32() && overlap(out, x)) refuse("out must be x or not overlap it");
  const auto run = [from = x.f32(), rows, by = norm.f32(), eps, &gate, &up, &down,
                    to = out.f32()](Backend& b) {
    ffn(b, from, rows, by, eps, gate, up, down, to);
  };
  perform(backend, run, x, norm, gate, up, down, out);
}

void py_argmax_rows(Backend& backend, nb::handle x_, nb::handle index_, nb::handle value_) {
  const Array x(x_, "x", Dtype::f32, {-1, -1});
  const int rows = row_count("x", x.dim(0)), cols = col_count("x", x.dim(1));
  const Array index(index_, "out_index", Dtype::i32, {rows}, Access::write);
  const Array value(value_, "out_value", Dtype::f32, {rows}, Access::write);
  const auto run = [from = x.f32(), rows, cols, at = index.data<int32_t>(),
                    to = value.f32()](Backend& b) { argmax_rows(b, from, rows, cols, at, to); };
  perform(backend, run, x, index, value);
}

double py_read_bandwidth(Backend& backend, int64_t bytes, int repeats) {
  if (bytes < 4096) refuse("bytes must be 4096 or more");
  if (repeats < 1) refuse("repeats must be 1 or more");
  nb::gil_scoped_release release;
  return read_bandwidth(backend, size_t(bytes), repeats);
}

}  // namespace

void bind_linear(nb::module_& m) {
  nb::class_<Packed>(m, "Packed", "A weight matrix [rows, cols] in the layout of the kernels.")
      .def(nb::init<int, int64_t, int64_t>(), nb::arg("type"), nb::arg("rows"), nb::arg("cols"),
           "Allocates a matrix to be filled from rows of a ggml type.")
      .def("fill",
           [](Packed& self, Backend& backend, nb::handle raw_rows, int64_t first_row) {
             py_fill(self, backend, raw_rows, first_row);
           },
           nb::arg("backend"), nb::arg("raw_rows"), nb::arg("first_row"),
           "Packs the next whole rows of GGUF bytes; a multiple of 16 rows but for the last call.")
      .def("head", [](const Packed& self, int64_t rows) { return Packed(self, rows); },
           nb::arg("rows"), "The leading rows as a matrix of their own that shares the memory.")
      .def_prop_ro("type", [](const Packed& p) { return std::string(kTypeInfo[p.type].name); })
      .def_prop_ro("rows", [](const Packed& p) { return p.rows; })
      .def_prop_ro("cols", [](const Packed& p) { return p.cols; })
      .def_prop_ro("filled", [](const Packed& p) { return p.filled; })
      .def_prop_ro("nbytes", [](const Packed& p) { return p.bytes(); });
  m.def("packable", [](int type) {
        const int packed = pack_type_of(type);
        return std::string(packed < 0 ? "" : kTypeInfo[packed].name);
      },
      nb::arg("type"), "Name of the packed type of a ggml type id, or an empty string.");
  m.def("pack", &py_pack, nb::arg("backend"), nb::arg("raw"), nb::arg("type"), nb::arg("rows"),
        nb::arg("cols"));
  m.def("unpack_rows", &py_unpack_rows, nb::arg("backend"), nb::arg("weight"), nb::arg("ids"),
        nb::arg("out"));
  m.def("rms_norm", &py_rms_norm, nb::arg("backend"), nb::arg("x"), nb::arg("weight"),
        nb::arg("eps"), nb::arg("out"));
  m.def("norm_join", &py_norm_join, nb::arg("backend"), nb::arg("a"), nb::arg("a_weight"),
        nb::arg("b"), nb::arg("b_weight"), nb::arg("eps"), nb::arg("out"),
        "RMS norms of a and b [T, E] side by side in out [T, 2 E].");
  m.def("linear", &py_linear, nb::arg("backend"), nb::arg("x"), nb::arg("norm").none(),
        nb::arg("eps"), nb::arg("weights"), nb::arg("outs"));
  m.def("linear_add", &py_linear_add, nb::arg("backend"), nb::arg("x"), nb::arg("weight"),
        nb::arg("residual"), nb::arg("out"));
  m.def("ffn", &py_ffn, nb::arg("backend"), nb::arg("x"), nb::arg("norm"), nb::arg("eps"),
        nb::arg("gate"), nb::arg("up"), nb::arg("down"), nb::arg("out"));
  m.def("argmax_rows", &py_argmax_rows, nb::arg("backend"), nb::arg("x"), nb::arg("out_index"),
        nb::arg("out_value"));
  m.def("read_bandwidth", &py_read_bandwidth, nb::arg("backend"), nb::arg("bytes"),
        nb::arg("repeats") = 5);
}

}  // namespace headlong
