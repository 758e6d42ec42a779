// Numpy arrays as arguments, through the buffer protocol: about 40 ns each, a third of a DLPack
// import, and errors that name the argument.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <initializer_list>
#include <string>

namespace headlong {

enum class Dtype { f32, f64, f16, i32, i8, u8, any };
enum class Access { read, write };

// A C-contiguous array, held for the length of a call.
class Array {
 public:
  // shape: -1 takes any length.  Throws ValueError with `name` in it.
  Array(nanobind::handle object, const char* name, Dtype dtype,
        std::initializer_list<int64_t> shape, Access access = Access::read);
  // Any shape.
  Array(nanobind::handle object, const char* name, Dtype dtype, Access access = Access::read);
  // Any shape, elements of the type of another array.
  Array(nanobind::handle object, const char* name, const Array& like);
  ~Array();
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;

  int axes() const { return view_.ndim; }
  int64_t dim(int axis) const { return view_.shape[axis]; }
  bool same_shape(const Array& other) const;
  // The Python object that the memory belongs to.
  nanobind::handle object() const { return view_.obj; }
  int64_t bytes() const { return view_.len; }
  template <class T>
  T* data() const {
    return static_cast<T*>(view_.buf);
  }
  float* f32() const { return data<float>(); }
  const int32_t* i32() const { return data<int32_t>(); }

 private:
  Py_buffer view_{};
};

}  // namespace headlong
