// Operations on the batch itself, for Python: the angles of its rows, and its last rows.
#include <cmath>
#include <cstring>

#include "arrays.hpp"
#include "bind.hpp"
#include "program.hpp"
#include "segments.hpp"

namespace nb = nanobind;

namespace headlong {

namespace {

// Rows whose angles one task computes: some 20 us.
constexpr int kAngleRows = 16;

void py_angles(Backend& backend, nb::handle frequencies_, nb::handle row_start_, nb::handle rows_,
               nb::handle pos_start_, nb::handle cos_, nb::handle sin_) {
  const Array frequencies(frequencies_, "frequencies", Dtype::f64, {-1});
  const Array row_start(row_start_, "row_start", Dtype::i32, {-1});
  const Array rows(rows_, "rows", Dtype::i32, {row_start.dim(0)});
  const Array pos_start(pos_start_, "pos_start", Dtype::i32, {row_start.dim(0)});
  const Array cos(cos_, "cos", Dtype::f32, {-1, frequencies.dim(0)}, Access::write);
  const Array sin(sin_, "sin", Dtype::f32, {cos.dim(0), frequencies.dim(0)}, Access::write);
  const auto run = [frequency = frequencies.data<double>(), pairs = int(frequencies.dim(0)),
                    start = row_start.i32(), rows = rows.i32(), position = pos_start.i32(),
                    count = int(row_start.dim(0)), total = cos.dim(0), c = cos.f32(),
                    s = sin.f32()](Backend& b) {
    check_rows(start, rows, count, total);
    check_positions(position, rows, count);
    for (int i = 0; i < count; ++i) {
      const auto some = [=](int task, int) {
        const int end = std::min(rows[i], (task + 1) * kAngleRows);
        for (int r = task * kAngleRows; r < end; ++r)
          for (int p = 0; p < pairs; ++p) {
            const double angle = double(position[i] + r) * frequency[p];
            const int64_t at = (int64_t(start[i]) + r) * pairs + p;
            c[at] = float(std::cos(angle));
            s[at] = float(std::sin(angle));
          }
      };
      b.pool.run((rows[i] + kAngleRows - 1) / kAngleRows, some);
    }
  };
  perform(backend, run, frequencies, row_start, rows, pos_start, cos, sin);
}

void py_last_rows(Backend& backend, nb::handle x_, nb::handle tokens_, nb::handle figures_,
                  nb::handle out_, nb::handle out_tokens_, nb::handle out_figures_) {
  const Array x(x_, "x", Dtype::f32, {-1, -1});
  const Array tokens(tokens_, "tokens", Dtype::i32, {x.dim(0)});
  const Array figures(figures_, "figures", Dtype::i32, {6, -1});
  const int64_t count = figures.dim(1);
  const Array out(out_, "out", Dtype::f32, {count, x.dim(1)}, Access::write);
  const Array out_tokens(out_tokens_, "out_tokens", Dtype::i32, {count}, Access::write);
  const Array out_figures(out_figures_, "out_figures", Dtype::i32, {6, count}, Access::write);
  const auto run = [from = x.f32(), total = x.dim(0), cols = size_t(x.dim(1)), token = tokens.i32(),
                    slot = figures.i32(), count = int(count), to = out.f32(),
                    to_token = out_tokens.data<int32_t>(),
                    to_figure = out_figures.data<int32_t>()](Backend&) {
    const int32_t *start = slot + count, *rows = start + count, *position = rows + count;
    check_rows(start, rows, count, total);
    check_positions(position, rows, count);
    for (int i = 0; i < count; ++i) {
      require(rows[i] > 0, "segment ", i, " has no rows, and so no last one");
      const int last = start[i] + rows[i] - 1;
      std::memcpy(to + size_t(i) * cols, from + size_t(last) * cols, cols * sizeof(float));
      to_token[i] = token[last];
      const int32_t alone[6] = {slot[i], i, 1, position[i] + rows[i] - 1, 0, 1};
      for (int f = 0; f < 6; ++f) to_figure[f * count + i] = alone[f];
    }
  };
  perform(backend, run, x, tokens, figures, out, out_tokens, out_figures);
}

}  // namespace

void bind_batch(nb::module_& m) {
  m.def("angles", &py_angles, nb::arg("backend"), nb::arg("frequencies"), nb::arg("row_start"),
        nb::arg("rows"), nb::arg("pos_start"), nb::arg("cos"), nb::arg("sin"),
        "Cosine and sine [T, pairs] of position * frequency of every row; frequencies float64.");
  m.def("last_rows", &py_last_rows, nb::arg("backend"), nb::arg("x"), nb::arg("tokens"),
        nb::arg("figures"), nb::arg("out"), nb::arg("out_tokens"), nb::arg("out_figures"),
        "Each segment's last row of x, its token, and the figures of a batch of these rows alone. "
        "figures [6, S]: slot, first row, rows, first position, fold, final.");
}

}  // namespace headlong
