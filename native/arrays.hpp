// Numpy arrays as arguments: a borrowed pointer and a checked shape.
//
// The buffer protocol with plain C calls: some 100 ns per array, where a general array caster
// spends several times that, and a pass makes hundreds of calls.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <stdexcept>
#include <string>

namespace headlong {

template <class T>
constexpr char kFormat = 0;
template <>
inline constexpr char kFormat<float> = 'f';
template <>
inline constexpr char kFormat<int32_t> = 'i';
template <>
inline constexpr char kFormat<uint8_t> = 'B';
template <>
inline constexpr char kFormat<int8_t> = 'b';
template <>
inline constexpr char kFormat<uint16_t> = 'H';

template <class T>
constexpr const char* kTypeName = "";
template <>
inline constexpr const char* kTypeName<float> = "float32";
template <>
inline constexpr const char* kTypeName<int32_t> = "int32";
template <>
inline constexpr const char* kTypeName<uint8_t> = "uint8";
template <>
inline constexpr const char* kTypeName<int8_t> = "int8";
template <>
inline constexpr const char* kTypeName<uint16_t> = "uint16";

// A C-contiguous array of T.  `Array<const T>` accepts read-only arrays.  Holds the buffer: create
// and destroy with the GIL.
template <class T>
class Array {
 public:
  using Element = std::remove_const_t<T>;

  Array(nanobind::handle object, const char* name) {
    constexpr bool writes = !std::is_const_v<T>;
    const int flags = PyBUF_FORMAT | PyBUF_ND | PyBUF_C_CONTIGUOUS | (writes ? PyBUF_WRITABLE : 0);
    if (PyObject_GetBuffer(object.ptr(), &view_, flags) != 0) {
      PyErr_Clear();
      fail(name, writes ? " must be a writable C-contiguous array of "
                        : " must be a C-contiguous array of ");
    }
    const char* f = view_.format;
    if (!f || f[0] != kFormat<Element> || f[1] || view_.itemsize != sizeof(T)) {
      PyBuffer_Release(&view_);
      fail(name, " must be an array of ");
    }
  }
  ~Array() { PyBuffer_Release(&view_); }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;

  T* data() const { return static_cast<T*>(view_.buf); }
  int dims() const { return view_.ndim; }
  int64_t size(int dim) const { return view_.shape[dim]; }
  int64_t count() const { return view_.len / int64_t(sizeof(T)); }

  // Throws ValueError unless the shape is [rows] or [rows, cols]; -1 stands for any size.
  void expect(const char* name, int64_t rows) const {
    if (dims() != 1 || (rows >= 0 && size(0) != rows)) wrong_shape(name, {rows, -2});
  }
  void expect(const char* name, int64_t rows, int64_t cols) const {
    if (dims() != 2 || (rows >= 0 && size(0) != rows) || (cols >= 0 && size(1) != cols))
      wrong_shape(name, {rows, cols});
  }

 private:
  [[noreturn]] static void fail(const char* name, const char* what) {
    throw std::invalid_argument(std::string(name) + what + kTypeName<Element>);
  }
  struct Shape {
    int64_t rows, cols;
  };
  [[noreturn]] void wrong_shape(const char* name, Shape want) const {
    std::string has, needs;
    for (int d = 0; d < dims(); ++d) has += (d ? ", " : "") + std::to_string(size(d));
    needs = want.rows < 0 ? "any" : std::to_string(want.rows);
    if (want.cols != -2) needs += ", " + (want.cols < 0 ? "any" : std::to_string(want.cols));
    throw std::invalid_argument(std::string(name) + " has shape [" + has + "], needs [" + needs +
                                "]");
  }

  Py_buffer view_;
};

}  // namespace headlong
