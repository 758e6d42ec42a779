// Python face of the linear operations: checks every argument, releases the GIL, calls linear_ops.
#include "bind.hpp"

#include <nanobind/stl/string.h>

#include <optional>
#include <string>

#include "arrays.hpp"
#include "linear_ops.hpp"

namespace nb = nanobind;

namespace headlong {

namespace {

[[noreturn]] void refuse(const std::string& why) { throw std::invalid_argument(why); }

// Row counts are ints in the kernels.
int row_count(const char* name, int64_t rows) {
  if (rows > (1 << 24)) refuse(std::string(name) + " has more than 2^24 rows");
  return int(rows);
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

template <class A, class B>
bool overlap(const Array<A>& a, const Array<B>& b) {
  const char* p = reinterpret_cast<const char*>(a.data());
  const char* q = reinterpret_cast<const char*>(b.data());
  return p < q + b.count() * int64_t(sizeof(B)) && q < p + a.count() * int64_t(sizeof(A));
}

// An argument that may be None.
struct OptionalNorm {
  std::optional<Array<const float>> array;
  OptionalNorm(nb::handle norm, int64_t cols) {
    if (norm.is_none()) return;
    array.emplace(norm, "norm");
    array->expect("norm", cols);
  }
  const float* data() const { return array ? array->data() : nullptr; }
};

void py_fill(Packed& packed, Backend& backend, nb::handle raw_rows, int64_t first_row) {
  const Array<const uint8_t> raw(raw_rows, "raw_rows");
  const size_t row_bytes = source_row_bytes(packed.source, packed.cols);
  const int64_t rows = raw.count() / int64_t(row_bytes);
  if (raw.count() % int64_t(row_bytes) || rows == 0)
    refuse("raw_rows: " + std::to_string(raw.count()) + " bytes are not whole rows of " +
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
  fill(backend, packed, raw.data(), int(first_row), int(rows));
}

Packed py_pack(Backend& backend, nb::handle raw_bytes, int type, int64_t rows, int64_t cols) {
  if (pack_type_of(type) < 0) refuse("type: ggml type " + std::to_string(type) + " has no packed form");
  const Array<const uint8_t> raw(raw_bytes, "raw");
  // Compare before allocating: the shape may be a lie of the file.
  if (rows < 1 || cols < 1 || cols > (1 << 30) || rows > (1 << 30) ||
      int64_t(source_row_bytes(type, int(cols))) * rows != raw.count())
    refuse("raw: " + std::to_string(raw.count()) + " bytes are not " + std::to_string(rows) +
           " rows of " + std::to_string(cols) + " " + source_name(type) + " weights");
  Packed packed(type, rows, cols);
  nb::gil_scoped_release release;
  fill(backend, packed, raw.data(), 0, packed.rows);
  return packed;
}

void py_unpack_rows(Backend& backend, const Packed& weight, nb::handle ids_, nb::handle out_) {
  const Array<const int32_t> ids(ids_, "ids");
  const Array<float> out(out_, "out");
  ids.expect("ids", -1);
  out.expect("out", ids.count(), weight.cols);
  expect_filled("weight", weight);
  for (int64_t i = 0; i < ids.count(); ++i)
    if (ids.data()[i] < 0 || ids.data()[i] >= weight.rows)
      refuse("ids: row " + std::to_string(ids.data()[i]) + " is not in 0.." +
             std::to_string(weight.rows - 1));
  const int count = row_count("ids", ids.count());
  nb::gil_scoped_release release;
  unpack_rows(backend, weight, ids.data(), count, out.data());
}

void py_rms_norm(Backend& backend, nb::handle x_, nb::handle weight_, float eps, nb::handle out_) {
  const Array<const float> x(x_, "x"), weight(weight_, "weight");
  const Array<float> out(out_, "out");
  x.expect("x", -1, -1);
  weight.expect("weight", x.size(1));
  out.expect("out", x.size(0), x.size(1));
  const int rows = row_count("x", x.size(0));
  nb::gil_scoped_release release;
  rms_norm(backend, x.data(), rows, int(x.size(1)), weight.data(), eps, out.data());
}

constexpr int kMostOutputs = 16;

void py_linear(Backend& backend, nb::handle x_, nb::handle norm_, float eps, nb::list weights,
               nb::list outs) {
  const Array<const float> x(x_, "x");
  x.expect("x", -1, -1);
  const int rows = row_count("x", x.size(0));
  const OptionalNorm norm(norm_, x.size(1));
  const size_t count = nb::len(weights);
  if (count == 0 || count > size_t(kMostOutputs) || nb::len(outs) != count)
    refuse("weights and outs must be lists of equal length, 1..16");
  std::optional<Array<float>> arrays[kMostOutputs];
  Output outputs[kMostOutputs];
  for (size_t i = 0; i < count; ++i) {
    const Packed& w = nb::cast<const Packed&>(weights[i]);
    expect_cols("weights", w, x.size(1));
    expect_filled("weights", w);
    const Array<float>& out = arrays[i].emplace(outs[i], "outs");
    out.expect("outs", rows, w.rows);
    if (overlap(out, x)) refuse("outs must not overlap x");
    for (size_t j = 0; j < i; ++j)
      if (overlap(out, *arrays[j])) refuse("outs must not overlap each other");
    outputs[i] = {&w, out.data(), nullptr};
  }
  nb::gil_scoped_release release;
  linear(backend, x.data(), rows, int(x.size(1)), norm.data(), eps, outputs, int(count));
}

void py_linear_add(Backend& backend, nb::handle x_, const Packed& weight, nb::handle residual_,
                   nb::handle out_) {
  const Array<const float> x(x_, "x"), residual(residual_, "residual");
  const Array<float> out(out_, "out");
  x.expect("x", -1, -1);
  const int rows = row_count("x", x.size(0));
  expect_cols("weight", weight, x.size(1));
  expect_filled("weight", weight);
  residual.expect("residual", rows, weight.rows);
  out.expect("out", rows, weight.rows);
  if (overlap(out, x)) refuse("out must not overlap x");
  if (out.data() != residual.data() && overlap(out, residual))
    refuse("out must be residual or not overlap it");
  const Output output{&weight, out.data(), residual.data()};
  nb::gil_scoped_release release;
  linear(backend, x.data(), rows, int(x.size(1)), nullptr, 0.0f, &output, 1);
}

void py_ffn(Backend& backend, nb::handle x_, nb::handle norm_, float eps, const Packed& gate,
            const Packed& up, const Packed& down, nb::handle out_) {
  const Array<const float> x(x_, "x"), norm(norm_, "norm");
  const Array<float> out(out_, "out");
  x.expect("x", -1, -1);
  const int rows = row_count("x", x.size(0));
  const int64_t cols = x.size(1);
  norm.expect("norm", cols);
  out.expect("out", rows, cols);
  expect_cols("gate", gate, cols);
  expect_cols("up", up, cols);
  expect_cols("down", down, gate.rows);
  if (up.rows != gate.rows) refuse("up must have as many rows as gate");
  if (down.rows != cols) refuse("down must have as many rows as x has columns");
  expect_filled("gate", gate);
  expect_filled("up", up);
  expect_filled("down", down);
  if (out.data() != x.data() && overlap(out, x)) refuse("out must be x or not overlap it");
  nb::gil_scoped_release release;
  ffn(backend, x.data(), rows, norm.data(), eps, gate, up, down, out.data());
}

void py_argmax_rows(Backend& backend, nb::handle x_, nb::handle index_, nb::handle value_) {
  const Array<const float> x(x_, "x");
  const Array<int32_t> index(index_, "out_index");
  const Array<float> value(value_, "out_value");
  x.expect("x", -1, -1);
  const int rows = row_count("x", x.size(0));
  if (x.size(1) < 1 || x.size(1) > (1 << 30)) refuse("x needs 1..2^30 columns");
  index.expect("out_index", rows);
  value.expect("out_value", rows);
  nb::gil_scoped_release release;
  argmax_rows(backend, x.data(), rows, int(x.size(1)), index.data(), value.data());
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
