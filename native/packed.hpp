// A weight matrix in the packed layout (layout.hpp), and the memory it lives in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "linear.hpp"

namespace headlong {

// Zeroed bytes, aligned to a cache line; large ones aligned to and advised for huge pages: one
// thread reads them 40 % faster than 4 KiB pages.  Throws std::bad_alloc.
class Memory {
 public:
  explicit Memory(size_t bytes);
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  uint8_t* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  uint8_t* data_ = nullptr;
  size_t bytes_ = 0;
  bool mapped_ = false;
};

struct Packed {
  int source;  // ggml type id of the rows it is filled from
  PackType type;
  int rows, cols;
  int filled = 0;  // leading rows that hold weights so far
  std::shared_ptr<Memory> memory;
  const uint8_t* data;  // of row group 0

  // Allocates; throws std::invalid_argument for a type without packed form or an impossible shape.
  Packed(int source, int64_t rows, int64_t cols);
  // The leading `rows` rows of another matrix, sharing its memory.
  Packed(const Packed& of, int64_t rows);

  int groups() const { return (rows + kLanes - 1) / kLanes; }
  size_t bytes() const { return size_t(groups()) * group_bytes(type, cols); }
};

}  // namespace headlong
