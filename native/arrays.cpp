#include "arrays.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace nb = nanobind;

namespace headlong {

namespace {

const char* dtype_name(Dtype dtype) {
  switch (dtype) {
    case Dtype::f32: return "float32";
    case Dtype::f64: return "float64";
    case Dtype::f16: return "float16 or uint16";
    case Dtype::i32: return "int32";
    case Dtype::i8: return "int8";
    case Dtype::u8: return "uint8";
    default: return "numeric";
  }
}

bool matches(Dtype dtype, const char* format, int64_t size) {
  const char c = format == nullptr ? 'B' : format[0];
  if (c != '\0' && format != nullptr && format[1] != '\0') return false;
  switch (dtype) {
    case Dtype::f32: return c == 'f';
    case Dtype::f64: return c == 'd';
    case Dtype::f16: return c == 'e' || c == 'H';
    case Dtype::i32: return (c == 'i' || c == 'l') && size == 4;
    case Dtype::i8: return c == 'b';
    case Dtype::u8: return c == 'B';
    default: return true;
  }
}

std::string text(int64_t n) { return n < 0 ? "*" : std::to_string(n); }

}  // namespace

// Takes the buffer, or throws.
static void acquire(Py_buffer& view, nb::handle object, const char* name, Dtype dtype,
                    Access access) {
  const int flags = PyBUF_ND | PyBUF_FORMAT | (access == Access::write ? PyBUF_WRITABLE : 0);
  if (PyObject_GetBuffer(object.ptr(), &view, flags) != 0) {
    PyErr_Clear();
    throw std::invalid_argument(std::string(name) + " must be a C-contiguous " +
                                (access == Access::write ? "writable " : "") + dtype_name(dtype) +
                                " array");
  }
  if (!matches(dtype, view.format, view.itemsize)) {
    PyBuffer_Release(&view);
    throw std::invalid_argument(std::string(name) + " must be " + dtype_name(dtype));
  }
}

Array::Array(nb::handle object, const char* name, Dtype dtype, Access access) {
  acquire(view_, object, name, dtype, access);
}

Array::Array(nb::handle object, const char* name, const Array& like) {
  acquire(view_, object, name, Dtype::any, Access::read);
  if (std::strcmp(view_.format, like.view_.format) == 0) return;
  const std::string problem = std::string(name) + " must have elements of type '" +
                              like.view_.format + "', not '" + view_.format + "'";
  PyBuffer_Release(&view_);
  throw std::invalid_argument(problem);
}

bool Array::same_shape(const Array& other) const {
  return axes() == other.axes() &&
         std::equal(view_.shape, view_.shape + axes(), other.view_.shape);
}

Array::Array(nb::handle object, const char* name, Dtype dtype,
             std::initializer_list<int64_t> shape, Access access) {
  acquire(view_, object, name, dtype, access);
  bool same = view_.ndim == int(shape.size());
  int axis = 0;
  for (int64_t want : shape) {
    if (same && want >= 0 && view_.shape[axis] != want) same = false;
    ++axis;
  }
  if (same) return;
  std::string problem = std::string(name) + " must have shape [";
  for (int64_t want : shape) problem += (problem.back() == '[' ? "" : ", ") + text(want);
  problem += "], not [";
  for (int i = 0; i < view_.ndim; ++i) problem += (i ? ", " : "") + text(view_.shape[i]);
  PyBuffer_Release(&view_);
  throw std::invalid_argument(problem + "]");
}

Array::~Array() { PyBuffer_Release(&view_); }

}  // namespace headlong
