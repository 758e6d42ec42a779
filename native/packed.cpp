#include "packed.hpp"

#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace headlong {

namespace {

constexpr size_t kHugePage = size_t(2) << 20;

// A ggml type that can be packed: columns per block and bytes per block in a file.
struct Source {
  int id;
  const char* name;
  PackType type;
  int block, bytes;
};
constexpr Source kSources[] = {
    {0, "F32", kF32, 1, 4},          {1, "F16", kF16, 1, 2},
    {2, "Q4_0", kQ4_0, 32, 18},      {3, "Q4_1", kQ4_1, 32, 20},
    {6, "Q5_0", kQ5_0, 32, 22},      {7, "Q5_1", kQ5_1, 32, 24},
    {8, "Q8_0", kQ8_0, 32, 34},      {10, "Q2_K", kQ2_K, 256, 84},
    {11, "Q3_K", kQ6_K, 256, 110},   {12, "Q4_K", kQ4_K, 256, 144},
    {13, "Q5_K", kQ5_K, 256, 176},   {14, "Q6_K", kQ6_K, 256, 210},
    {20, "IQ4_NL", kIQ4_NL, 32, 18}, {23, "IQ4_XS", kIQ4_XS, 256, 136},
    {30, "BF16", kBF16, 1, 2},       {39, "MXFP4", kMXFP4, 32, 17},
};

const Source* find(int id) {
  for (const Source& s : kSources)
    if (s.id == id) return &s;
  return nullptr;
}

}  // namespace

int pack_type_of(int source) {
  const Source* s = find(source);
  return s ? s->type : -1;
}
const char* source_name(int source) {
  const Source* s = find(source);
  return s ? s->name : "";
}
size_t source_row_bytes(int source, int cols) {
  const Source* s = find(source);
  return size_t(cols / s->block) * size_t(s->bytes);
}

Memory::Memory(size_t bytes) : bytes_(bytes) {
  if (bytes == 0) bytes = 1;
#if defined(__linux__)
  if (bytes >= kHugePage) {
    if (bytes > SIZE_MAX - 2 * kHugePage) throw std::bad_alloc();
    const size_t length = (bytes + 4095) / 4096 * 4096 + kHugePage;
    void* p = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) throw std::bad_alloc();
    // Keep the stretch that starts on a huge page, give back what lies before and after it.
    uint8_t* raw = static_cast<uint8_t*>(p);
    const size_t skip = (kHugePage - reinterpret_cast<uintptr_t>(raw) % kHugePage) % kHugePage;
    const size_t keep = length - kHugePage;
    if (skip) munmap(raw, skip);
    if (kHugePage - skip) munmap(raw + skip + keep, kHugePage - skip);
    data_ = raw + skip;
    bytes_ = keep;
    mapped_ = true;
    madvise(data_, keep, MADV_HUGEPAGE);  // advice: 4 KiB pages serve where it is refused
    return;
  }
#endif
  const size_t rounded = to_line(bytes);
  if (rounded < bytes) throw std::bad_alloc();
  data_ = static_cast<uint8_t*>(std::aligned_alloc(64, rounded));
  if (!data_) throw std::bad_alloc();
  std::memset(data_, 0, rounded);
}

Memory::~Memory() {
#if defined(__linux__)
  if (mapped_) {
    munmap(data_, bytes_);
    return;
  }
#endif
  std::free(data_);
}

Packed::Packed(int source_, int64_t rows_, int64_t cols_) : source(source_) {
  const Source* s = find(source);
  if (!s)
    throw std::invalid_argument("type: ggml type " + std::to_string(source) +
                                " has no packed form");
  // Row and column counts are ints in the kernels, and 2^30 leaves room for rounding up.
  constexpr int64_t kMost = int64_t(1) << 30;
  if (rows_ < 1 || rows_ > kMost)
    throw std::invalid_argument("rows: " + std::to_string(rows_) + " is not in 1..2^30");
  if (cols_ < 1 || cols_ > kMost || cols_ % s->block)
    throw std::invalid_argument("cols: " + std::to_string(cols_) + " is not a multiple of " +
                                std::to_string(s->block) + " in 1..2^30, as " + s->name + " needs");
  type = s->type;
  rows = int(rows_);
  cols = int(cols_);
  const size_t group = group_bytes(type, cols);
  if (size_t(groups()) > (SIZE_MAX >> 1) / group) throw std::bad_alloc();
  memory = std::make_shared<Memory>(bytes());
  data = memory->data();
}

Packed::Packed(const Packed& of, int64_t rows_)
    : source(of.source), type(of.type), cols(of.cols), memory(of.memory), data(of.data) {
  if (rows_ < 1 || rows_ > of.rows)
    throw std::invalid_argument("rows: " + std::to_string(rows_) + " is not in 1.." +
                                std::to_string(of.rows));
  if (of.filled < rows_)
    throw std::invalid_argument("rows: only " + std::to_string(of.filled) +
                                " rows of the matrix are filled");
  rows = filled = int(rows_);
}

}  // namespace headlong
