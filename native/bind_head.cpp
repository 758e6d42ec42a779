// Python face of the fused LM head: checks every argument, then performs (program.hpp)
// what head_ops does.
#include <optional>
#include <stdexcept>
#include <string>

#include "arrays.hpp"
#include "bind.hpp"
#include "head_ops.hpp"
#include "program.hpp"

namespace nb = nanobind;

namespace headlong {

namespace {

[[noreturn]] void refuse(const std::string& why) { throw std::invalid_argument(why); }

void py_best(Backend& backend, nb::handle x_, const Packed& weight, nb::handle allowed_,
             nb::handle values_, nb::handle ids_, nb::handle log_sums_) {
  const Array x(x_, "x", Dtype::f32, {-1, weight.cols});
  if (weight.filled != weight.rows) refuse("weight is not filled");
  if (x.dim(0) >= (1 << 20)) refuse("x needs fewer than 2^20 rows");
  const Array values(values_, "values", Dtype::f32, {x.dim(0), -1}, Access::write);
  const Array ids(ids_, "ids", Dtype::i32, {x.dim(0), values.dim(1)}, Access::write);
  if (values.dim(1) < 1 || values.dim(1) > weight.rows)
    refuse("values needs 1.." + std::to_string(weight.rows) + " columns");
  std::optional<Array> allowed, log_sums;
  if (!allowed_.is_none()) {
    allowed.emplace(allowed_, "allowed", Dtype::u8, std::initializer_list<int64_t>{-1});
    if (allowed->dim(0) < (weight.rows + 7) / 8)
      refuse("allowed needs a bit for each of " + std::to_string(weight.rows) + " rows");
  }
  if (!log_sums_.is_none())
    log_sums.emplace(log_sums_, "log_sums", Dtype::f64, std::initializer_list<int64_t>{x.dim(0)},
                     Access::write);
  const HeadRows head{x.f32(),
                      int(x.dim(0)),
                      int(values.dim(1)),
                      allowed ? allowed->data<const uint8_t>() : nullptr,
                      values.f32(),
                      ids.data<int32_t>(),
                      log_sums ? log_sums->data<double>() : nullptr};
  const auto run = [&weight, head](Backend& b) { best_rows(b, weight, head); };
  perform(backend, run, x, weight, allowed, values, ids, log_sums);
}

}  // namespace

void bind_head(nb::module_& m) {
  m.def("best", &py_best, nb::arg("backend"), nb::arg("x"), nb::arg("weight"),
        nb::arg("allowed").none(), nb::arg("values"), nb::arg("ids"), nb::arg("log_sums").none());
}

}  // namespace headlong
