// Python face of the sampler: checks every argument, releases the GIL while it works.
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "arrays.hpp"
#include "bind.hpp"
#include "kernels.hpp"
#include "sampler.hpp"

namespace nb = nanobind;

namespace headlong {

namespace {

[[noreturn]] void refuse(const std::string& why) { throw std::invalid_argument(why); }

const SamplingKernels& fastest() {
  const char* names[8];
  return kernels_for(names[supported_isas(names, 8) - 1]).sampling;
}

void expect_ascending(const char* name, const std::vector<int64_t>& ids) {
  if (std::adjacent_find(ids.begin(), ids.end(), std::greater_equal<>()) != ids.end())
    refuse(std::string(name) + " must ascend");
}

void init(Sampler* self, double temperature, int64_t top_k, double top_p, double min_p,
          double typical_p, double repeat, double frequency, double presence, uint64_t seed,
          std::vector<int64_t> bans, std::vector<int64_t> early_bans, int64_t early_until,
          const std::vector<int64_t>& shift_ids, const std::vector<double>& shifts,
          const std::string& isa) {
  if (shift_ids.size() != shifts.size()) refuse("shift_ids and shifts must be of equal length");
  expect_ascending("bans", bans);
  expect_ascending("early_bans", early_bans);
  std::vector<Shift> pairs;
  for (size_t i = 0; i < shifts.size(); ++i) pairs.push_back({shift_ids[i], float(shifts[i])});
  new (self) Sampler({temperature, top_k, top_p, min_p, typical_p, repeat, frequency, presence},
                     seed, std::move(bans), std::move(early_bans), early_until, std::move(pairs),
                     isa.empty() ? fastest() : kernels_for(isa.c_str()).sampling);
}

int64_t row(const Sampler& self, nb::handle logits_, nb::handle ids_, const WindowCounts* counts,
            int64_t position) {
  const Array logits(logits_, "logits", Dtype::f32, {-1});
  const int64_t n = logits.dim(0);
  if (n < 1 || n > (1 << 30)) refuse("logits needs 1..2^30 columns");
  std::optional<Array> ids;
  if (!ids_.is_none()) ids.emplace(ids_, "ids", Dtype::i32, std::initializer_list<int64_t>{n});
  nb::gil_scoped_release release;
  return self.row(logits.f32(), ids ? ids->i32() : nullptr, int(n), counts, position);
}

int64_t best(const Sampler& self, nb::handle logits_, nb::handle ids_, int64_t position) {
  const Array logits(logits_, "logits", Dtype::f32, {-1});
  const Array ids(ids_, "ids", Dtype::i32, {logits.dim(0)});
  // Some microseconds at most: not worth handing the GIL over.
  return self.best(logits.f32(), ids.i32(), int(logits.dim(0)), position);
}

double py_log_sum(nb::handle logits_) {
  const Array logits(logits_, "logits", Dtype::f32, {-1});
  if (logits.dim(0) < 1 || logits.dim(0) > (1 << 30)) refuse("logits needs 1..2^30 columns");
  nb::gil_scoped_release release;
  return log_sum(fastest(), logits.f32(), int(logits.dim(0)));
}

std::pair<std::vector<int64_t>, std::vector<int64_t>> entries(const WindowCounts& self) {
  std::pair<std::vector<int64_t>, std::vector<int64_t>> lists;
  for (const auto& [token, count] : self.entries()) {
    lists.first.push_back(token);
    lists.second.push_back(count);
  }
  return lists;
}

}  // namespace

void bind_sampler(nb::module_& m) {
  nb::class_<WindowCounts>(m, "WindowCounts", "How often each token occurs in a window.")
      .def(nb::init<>())
      .def("add", &WindowCounts::add, nb::arg("token"))
      .def("drop",
           [](WindowCounts& self, int64_t token) {
             if (!self.drop(token)) refuse("token is not in the window");
           },
           nb::arg("token"))
      .def("entries", &entries, "Distinct tokens and their counts, in no particular order.");
  nb::class_<Sampler>(m, "Sampler", "The sampler chain of one request.")
      .def("__init__", &init, nb::arg("temperature"), nb::arg("top_k"), nb::arg("top_p"),
           nb::arg("min_p"), nb::arg("typical_p"), nb::arg("repeat"), nb::arg("frequency"),
           nb::arg("presence"), nb::arg("seed"), nb::arg("bans"), nb::arg("early_bans"),
           nb::arg("early_until"), nb::arg("shift_ids"), nb::arg("shifts"), nb::arg("isa") = "")
      .def("row", &row, nb::arg("logits"), nb::arg("ids").none(), nb::arg("counts").none(),
           nb::arg("position"), "The token of a whole row; below 0, why there is none.")
      .def("best", &best, nb::arg("logits"), nb::arg("ids"), nb::arg("position"),
           "The same from the best logits of a row.");
  m.attr("NAN_LOGITS") = int64_t(kNaN);
  m.attr("INFINITE_LOGITS") = int64_t(kInfinite);
  m.attr("NO_TOKEN") = int64_t(kNothing);
  m.def("uniform",
        [](uint64_t seed, uint64_t position, int64_t id) {
          return uniform(noise_keys(seed, position), id);
        },
        nb::arg("seed"), nb::arg("position"), nb::arg("id"));
  m.def("gumbel",
        [](uint64_t seed, uint64_t position, int64_t id) {
          return gumbel(noise_keys(seed, position), id);
        },
        nb::arg("seed"), nb::arg("position"), nb::arg("id"));
  m.def("log_sum", &py_log_sum, nb::arg("logits"), "log(sum of e^x) over a row.");
}

}  // namespace headlong
