#include "linear_ops.hpp"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>

namespace headlong {

namespace {

// Bytes of weights that stay in a core's L2 (512 KiB and more on what runs this) beside the
// activations, while several chunks of rows pass.
constexpr size_t kL2Weights = 256 << 10;
// Smallest share of the weights handed to a thread: one or two row groups, about 1 us of reading.
constexpr size_t kLeastSpan = 16 << 10;
// Floats below which preparing activations is faster alone than with a parallel region (1 us).
constexpr int64_t kAlone = 32 << 10;

// A buffer that grows to the largest size asked for, one per calling thread: several Python threads
// may share a backend.
template <class T>
class Scratch {
 public:
  ~Scratch() { std::free(data_); }
  T* get(size_t count) {
    if (count > count_) {
      std::free(data_);
      count_ = 0;
      data_ = static_cast<T*>(std::aligned_alloc(64, to_line(count * sizeof(T))));
      if (!data_) throw std::bad_alloc();
      count_ = count;
    }
    return data_;
  }

 private:
  T* data_ = nullptr;
  size_t count_ = 0;
};

struct Span {
  int output, first, count;
};

thread_local Scratch<int32_t> quantised_scratch;
thread_local Scratch<float> normed_scratch, hidden_scratch;
thread_local std::vector<Span> spans;

Groups groups_of(const Packed& w, int first, int count) {
  return {w.type, w.cols, w.rows, first, count, w.data};
}

// Cuts the row groups of all outputs into spans for `threads` threads to take one after the other:
// each a share of what is left, so that the first are long streams and the last are short enough
// that the threads end together, whatever else the machine does.
template <class BytesOf, class GroupsOf>
void cut(int threads, int outputs, BytesOf bytes_of, GroupsOf groups) {
  spans.clear();
  size_t left = 0;
  for (int o = 0; o < outputs; ++o) left += bytes_of(o) * size_t(groups(o));
  for (int o = 0; o < outputs; ++o) {
    const size_t bytes = bytes_of(o);
    for (int first = 0; first < groups(o);) {
      const size_t share =
          threads == 1 ? left : std::max(left / (2 * size_t(threads)), kLeastSpan);
      const int count = int(std::min<size_t>(std::max<size_t>(share / bytes, 1),
                                             size_t(groups(o) - first)));
      spans.push_back({o, first, count});
      first += count;
      left -= bytes * size_t(count);
    }
  }
}

// body(span part): a part has no more weights than L2 keeps when there is more than one chunk.
template <class Body>
void run_spans(Backend& backend, bool many_chunks, const Span* list, int count, size_t bytes_each,
               const Body& body) {
  const int most = many_chunks ? int(std::max<size_t>(kL2Weights / bytes_each, 1)) : 1 << 30;
  backend.pool.run(count, [&](int task, int) {
    Span s = list[task];
    for (int end = s.first + s.count; s.first < end; s.first += most) {
      s.count = std::min(most, end - s.first);
      body(s);
    }
  });
}

// Activations of x [rows, cols] in the forms that are asked for.
Activations prepare(Backend& backend, const float* x, int rows, int cols, const float* norm,
                    float eps, bool quantised, bool floats) {
  const LinearKernels& k = backend.kernels.linear;
  Activations a{rows, cols, nullptr, x};
  const bool alone = int64_t(rows) * cols <= kAlone || rows <= k.chunk_rows;
  if (floats && norm) {
    float* normed = normed_scratch.get(size_t(rows) * cols);
    rms_norm(backend, x, rows, cols, norm, eps, normed);
    a.floats = x = normed;
    norm = nullptr;
  }
  if (!quantised) return a;
  a.quantised = quantised_scratch.get(size_t(rows) * superblocks(cols) * activation::kWords);
  if (alone) {
    k.quantise(x, norm, eps, rows, cols, 0, rows, a.quantised);
  } else {
    const int chunks = (rows + k.chunk_rows - 1) / k.chunk_rows;
    backend.pool.run(chunks, [&](int chunk, int) {
      const int first = chunk * k.chunk_rows;
      k.quantise(x, norm, eps, rows, cols, first, std::min(k.chunk_rows, rows - first),
                 a.quantised);
    });
  }
  return a;
}

void multiply(Backend& backend, const Activations& a, const Output* outputs, int count,
              int64_t first_row) {
  const LinearKernels& k = backend.kernels.linear;
  const auto bytes_of = [&](int o) {
    return group_bytes(outputs[o].weight->type, outputs[o].weight->cols);
  };
  cut(backend.pool.threads(), count, bytes_of, [&](int o) { return outputs[o].weight->groups(); });
  size_t most_bytes = 0;
  for (int o = 0; o < count; ++o) most_bytes = std::max(most_bytes, bytes_of(o));
  run_spans(backend, a.rows > k.chunk_rows, spans.data(), int(spans.size()), most_bytes,
            [&](const Span& s) {
              const Output& o = outputs[s.output];
              const int64_t at = first_row * o.weight->rows;
              k.multiply(groups_of(*o.weight, s.first, s.count), a,
                         o.residual ? o.residual + at : nullptr, o.out + at, o.weight->rows);
            });
}

bool floating(const Packed& p) { return kTypeInfo[p.type].floating; }

}  // namespace

void linear(Backend& backend, const float* x, int rows, int cols, const float* norm, float eps,
            const Output* outputs, int count) {
  bool quantised = false, floats = false;
  for (int o = 0; o < count; ++o) (floating(*outputs[o].weight) ? floats : quantised) = true;
  for (int first = 0; first < rows; first += kRowBlock) {
    const int n = std::min(kRowBlock, rows - first);
    const Activations a = prepare(backend, x + size_t(first) * cols, n, cols, norm, eps, quantised,
                                  floats);
    multiply(backend, a, outputs, count, first);
  }
}

void ffn(Backend& backend, const float* x, int rows, const float* norm, float eps,
         const Packed& gate, const Packed& up, const Packed& down, float* out) {
  const LinearKernels& k = backend.kernels.linear;
  const int cols = gate.cols, width = gate.rows;
  const bool quantised = !floating(gate) || !floating(up);
  const bool floats = floating(gate) || floating(up);
  const size_t bytes = group_bytes(gate.type, cols) + group_bytes(up.type, cols);
  for (int first = 0; first < rows; first += kRowBlock) {
    const int n = std::min(kRowBlock, rows - first);
    const float* block = x + size_t(first) * cols;
    const Activations a = prepare(backend, block, n, cols, norm, eps, quantised, floats);
    float* hidden = hidden_scratch.get(size_t(n) * width);
    cut(backend.pool.threads(), 1, [&](int) { return bytes; }, [&](int) { return gate.groups(); });
    run_spans(backend, n > k.chunk_rows, spans.data(), int(spans.size()), bytes,
              [&](const Span& s) {
                k.multiply_gated(groups_of(gate, s.first, s.count), groups_of(up, s.first, s.count),
                                 a, hidden, width);
              });
    const Activations h =
        prepare(backend, hidden, n, width, nullptr, 0.0f, !floating(down), floating(down));
    const Output o{&down, out + size_t(first) * cols, block};
    multiply(backend, h, &o, 1, 0);
  }
}

void rms_norm(Backend& backend, const float* x, int rows, int cols, const float* weight, float eps,
              float* out) {
  const LinearKernels& k = backend.kernels.linear;
  if (int64_t(rows) * cols <= kAlone) return k.rms_norm(x, rows, cols, weight, eps, out);
  backend.pool.run(rows, [&](int r, int) {
    const size_t at = size_t(r) * cols;
    k.rms_norm(x + at, 1, cols, weight, eps, out + at);
  });
}

void norm_join(Backend& backend, const float* a, const float* a_weight, const float* b,
               const float* b_weight, int rows, int cols, float eps, float* out) {
  const LinearKernels& k = backend.kernels.linear;
  const auto row = [=, &k](int r, int) {
    const size_t from = size_t(r) * cols;
    float* to = out + 2 * from;
    k.rms_norm(a + from, 1, cols, a_weight, eps, to);
    k.rms_norm(b + from, 1, cols, b_weight, eps, to + cols);
  };
  if (2 * int64_t(rows) * cols > kAlone) return backend.pool.run(rows, row);
  for (int r = 0; r < rows; ++r) row(r, 0);
}

void unpack_rows(Backend& backend, const Packed& w, const int32_t* ids, int count, float* out) {
  const size_t bytes = group_bytes(w.type, w.cols);
  backend.pool.run(count, [&](int i, int) {
    backend.kernels.linear.unpack(w.type, w.data + size_t(ids[i] / kLanes) * bytes, ids[i] % kLanes,
                                  w.cols, out + size_t(i) * w.cols);
  });
}

void argmax_rows(Backend& backend, const float* x, int rows, int cols, int32_t* index,
                 float* value) {
  backend.pool.run(rows, [&](int r, int) {
    backend.kernels.linear.argmax(x + size_t(r) * cols, cols, index + r, value + r);
  });
}

void fill(Backend& backend, Packed& packed, const uint8_t* raw, int first, int rows) {
  const size_t row_bytes = source_row_bytes(packed.source, packed.cols);
  const size_t bytes = group_bytes(packed.type, packed.cols);
  uint8_t* to = packed.memory->data() + size_t(first / kLanes) * bytes;
  backend.pool.run((rows + kLanes - 1) / kLanes, [&](int g, int) {
    backend.kernels.linear.pack(packed.source, raw + size_t(g) * kLanes * row_bytes, row_bytes,
                                std::min(kLanes, rows - g * kLanes), packed.cols,
                                to + size_t(g) * bytes);
  });
  packed.filled = first + rows;
}

double read_bandwidth(Backend& backend, size_t bytes, int repeats) {
  constexpr size_t kUnit = 512;  // what one step of the loop reads
  const size_t units = bytes / kUnit;
  const Memory memory(units * kUnit);
  const int threads = backend.pool.threads();
  std::vector<uint64_t> sums(size_t(threads) * 8);
  const auto part = [&](int p) { return units * size_t(p) / sums.size() * kUnit; };
  // The first sweep writes, so that every page exists; it is not timed.
  backend.pool.run(int(sums.size()), [&](int p, int) {
    std::memset(memory.data() + part(p), p + 1, part(p + 1) - part(p));
  });
  double best = 0;
  for (int r = 0; r < repeats; ++r) {
    const auto start = std::chrono::steady_clock::now();
    backend.pool.run(int(sums.size()), [&](int p, int) {
      sums[size_t(p)] =
          backend.kernels.linear.read(memory.data() + part(p), part(p + 1) - part(p));
    });
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    volatile uint64_t keep = 0;  // the sums are used, so the loop stays
    for (const uint64_t s : sums) keep = keep + s;
    best = std::max(best, double(units * kUnit) / took.count() / 1e9);
  }
  return best;
}

}  // namespace headlong
