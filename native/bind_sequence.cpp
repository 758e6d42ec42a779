// Attention and gated delta-net for Python: argument checks, and the split of work into tasks.
#include <nanobind/nanobind.h>

#include <algorithm>
#include <new>
#include <optional>
#include <vector>

#include "arrays.hpp"
#include "backend.hpp"
#include "bind.hpp"
#include "program.hpp"
#include "segments.hpp"

namespace nb = nanobind;

namespace headlong {

namespace {

constexpr int kMaxHeadDim = 512;
constexpr int kMaxStateDim = 256;
// Query heads x rows that share a pass over the cache: their queries and running sums
// (64 x 256 floats each) stay in L2 beside the page.
constexpr int kQueriesPerUnit = 64;
constexpr int kStoreRows = 16;  // rows of one kv_store task

// Memory that grows to the largest request and is then reused.
class Scratch {
 public:
  ~Scratch() { release(); }
  float* floats(int64_t count) {
    if (count > capacity_) {
      release();
      data_ = static_cast<float*>(::operator new(size_t(count) * sizeof(float), kAlign));
      capacity_ = count;
    }
    return data_;
  }

 private:
  static constexpr std::align_val_t kAlign{64};
  void release() {
    if (data_ != nullptr) ::operator delete(data_, kAlign);
    data_ = nullptr;
    capacity_ = 0;
  }
  float* data_ = nullptr;
  int64_t capacity_ = 0;
};

thread_local Scratch task_scratch;  // of each thread that runs tasks
thread_local Scratch call_scratch;  // of a call, shared by its tasks

struct CacheArrays {
  Array k, v;
  std::optional<Array> k_scale, v_scale;
  int64_t pages;
  KvCache cache;

  CacheArrays(nb::handle k_, nb::handle v_, nb::handle ks, nb::handle vs, int64_t heads,
              int64_t dim, Access access)
      : k(k_, "k_cache", ks.is_none() ? Dtype::f16 : Dtype::i8, {-1, heads, kPageRows, dim},
          access),
        v(v_, "v_cache", ks.is_none() ? Dtype::f16 : Dtype::i8,
          {k.dim(0), k.dim(1), kPageRows, dim}, access),
        pages(k.dim(0)) {
    require(ks.is_none() == vs.is_none(), "k_scale and v_scale must both be given or both be None");
    heads = k.dim(1);
    cache = {k.data<void>(), v.data<void>(), nullptr, nullptr, int(heads), int(dim)};
    if (ks.is_none()) return;
    require(dim % kScaleBlock == 0, "an int8 cache needs heads of a multiple of ", kScaleBlock,
            " dims");
    k_scale.emplace(ks, "k_scale", Dtype::f16,
                    std::initializer_list<int64_t>{pages, heads, kPageRows, dim / kScaleBlock},
                    access);
    v_scale.emplace(vs, "v_scale", Dtype::f16,
                    std::initializer_list<int64_t>{pages, heads, kPageRows, dim / kScaleBlock},
                    access);
    cache.k_scale = k_scale->data<uint16_t>();
    cache.v_scale = v_scale->data<uint16_t>();
  }
};

struct SegmentArrays {
  Array page_table, row_start, rows, pos_start;
  Segments segments;

  SegmentArrays(nb::handle table, nb::handle start, nb::handle count, nb::handle position)
      : page_table(table, "page_table", Dtype::i32, {-1, -1}),
        row_start(start, "row_start", Dtype::i32, {page_table.dim(0)}),
        rows(count, "rows", Dtype::i32, {page_table.dim(0)}),
        pos_start(position, "pos_start", Dtype::i32, {page_table.dim(0)}),
        segments{int(page_table.dim(0)), row_start.i32(),  rows.i32(),
                 pos_start.i32(),        page_table.i32(), int(page_table.dim(1))} {}
};

struct RotationArrays {
  Array cos, sin;
  Rotation rotation;

  RotationArrays(nb::handle c, nb::handle s, int64_t rows, int64_t dim)
      : cos(c, "cos", Dtype::f32, {rows, -1}),
        sin(s, "sin", Dtype::f32, {rows, cos.dim(1)}),
        rotation{cos.f32(), sin.f32(), int(cos.dim(1))} {
    require(2 * cos.dim(1) <= dim, "cos holds ", cos.dim(1), " pairs, more than half of a head of ",
            dim, " dims");
  }
};

void check_head(const char* name, int64_t dim) {
  require(dim > 0 && dim % 16 == 0 && dim <= kMaxHeadDim, name, " has ", dim,
          " dims; heads must be a multiple of 16 and at most ", kMaxHeadDim);
}

void store(Backend& backend, const KvStore& args) {
  struct Task {
    int segment, first, rows;
  };
  static thread_local std::vector<Task> tasks;
  tasks.clear();
  const Segments& s = args.segments;
  for (int i = 0; i < s.count; ++i)
    for (int r = 0; r < s.rows[i]; r += kStoreRows)
      tasks.push_back({i, r, std::min(kStoreRows, s.rows[i] - r)});
  const Task* list = tasks.data();
  const auto kernel = backend.kernels.sequence.kv_store;
  backend.pool.run(int(tasks.size()), [&args, list, kernel](int task, int) {
    kernel(args, list[task].segment, list[task].first, list[task].rows);
  });
}

void py_kv_store(Backend& backend, nb::handle k, nb::handle v, nb::handle k_norm, double eps,
                 nb::handle cos, nb::handle sin, nb::handle k_cache, nb::handle v_cache,
                 nb::handle k_scale, nb::handle v_scale, nb::handle page_table,
                 nb::handle row_start, nb::handle rows, nb::handle pos_start) {
  const Array norm_(k_norm, "k_norm", Dtype::f32, {-1});
  const int64_t dim = norm_.dim(0);
  check_head("k_norm", dim);
  const Array k_(k, "k", Dtype::f32, {-1, -1});
  const Array v_(v, "v", Dtype::f32, {k_.dim(0), k_.dim(1)});
  require(k_.dim(1) > 0 && k_.dim(1) % dim == 0, "k must be a whole number of heads wide");
  const CacheArrays cache(k_cache, v_cache, k_scale, v_scale, k_.dim(1) / dim, dim, Access::write);
  const RotationArrays rotation(cos, sin, k_.dim(0), dim);
  const SegmentArrays segments(page_table, row_start, rows, pos_start);

  const KvStore args{k_.f32(),          v_.f32(),    norm_.f32(),      float(eps),
                     rotation.rotation, cache.cache, segments.segments};
  const auto run = [args, total = k_.dim(0), pages = cache.pages](Backend& b) {
    check_segments(args.segments, total, pages);
    store(b, args);
  };
  perform(backend, run, k_, v_, norm_, cache.k, cache.v, cache.k_scale, cache.v_scale,
          rotation.cos, rotation.sin, segments.page_table, segments.row_start, segments.rows,
          segments.pos_start);
}

void attend(Backend& backend, const Attend& args) {
  static thread_local std::vector<AttendUnit> units;
  struct Task {
    int unit, chunk;
  };
  static thread_local std::vector<Task> tasks;
  units.clear();
  tasks.clear();
  const Segments& s = args.segments;
  const int group = args.query_heads / args.cache.heads;
  const int unit_rows = std::max(1, kQueriesPerUnit / group);
  int64_t partials = 0;
  int most_rows = 0;
  for (int i = 0; i < s.count; ++i)
    for (int r = 0; r < s.rows[i]; r += unit_rows)
      for (int h = 0; h < args.cache.heads; ++h) {
        const int n = std::min(unit_rows, s.rows[i] - r);
        const int chunks = (s.pos_start[i] + r + n - 1) / kChunkRows + 1;
        units.push_back({i, h, r, n, chunks, partials});
        partials += int64_t(chunks) * n * group * partial_floats(args.cache);
        most_rows = std::max(most_rows, n);
        for (int c = 0; c < chunks; ++c) tasks.push_back({int(units.size()) - 1, c});
      }
  const SequenceKernels& kernels = backend.kernels.sequence;
  const AttendUnit* unit = units.data();
  const int64_t scratch = attend_scratch(args, most_rows);
  const int threads = backend.pool.threads();
  // Chunks become tasks of their own where units alone would leave threads idle.  The arithmetic
  // is the same either way.
  if (threads == 1 || int(units.size()) >= 4 * threads || tasks.size() == units.size()) {
    // Last rows first: they see the most positions, and the shortest tasks should end the call.
    const int last = int(units.size()) - 1;
    backend.pool.run(last + 1, [&args, &kernels, unit, scratch, last](int task, int) {
      kernels.attend(args, unit[last - task], task_scratch.floats(scratch));
    });
    return;
  }
  float* arena = call_scratch.floats(partials);
  const Task* list = tasks.data();
  backend.pool.run(int(tasks.size()), [&args, &kernels, unit, list, scratch, arena](int task, int) {
    kernels.attend_chunk(args, unit[list[task].unit], list[task].chunk,
                         task_scratch.floats(scratch), arena);
  });
  backend.pool.run(int(units.size()), [&args, &kernels, unit, arena](int task, int) {
    for (int r = 0; r < unit[task].rows; ++r) kernels.combine(args, unit[task], r, arena);
  });
}

void py_attend(Backend& backend, nb::handle qg, nb::handle q_norm, double eps, nb::handle cos,
               nb::handle sin, nb::handle k_cache, nb::handle v_cache, nb::handle k_scale,
               nb::handle v_scale, nb::handle page_table, nb::handle row_start, nb::handle rows,
               nb::handle pos_start, nb::handle out) {
  const Array norm_(q_norm, "q_norm", Dtype::f32, {-1});
  const int64_t dim = norm_.dim(0);
  check_head("q_norm", dim);
  const Array qg_(qg, "qg", Dtype::f32, {-1, -1});
  const int64_t heads = qg_.dim(1) / (2 * dim), total = qg_.dim(0);
  require(heads > 0 && qg_.dim(1) % (2 * dim) == 0,
          "qg must be a whole number of (query, gate) heads wide");
  const Array out_(out, "out", Dtype::f32, {total, heads * dim}, Access::write);
  const CacheArrays cache(k_cache, v_cache, k_scale, v_scale, -1, dim, Access::read);
  require(cache.cache.heads > 0 && heads % cache.cache.heads == 0, heads,
          " query heads do not divide among ", cache.cache.heads, " KV heads");
  const RotationArrays rotation(cos, sin, total, dim);
  const SegmentArrays segments(page_table, row_start, rows, pos_start);

  const Attend args{qg_.f32(),   norm_.f32(),       float(eps), rotation.rotation,
                    cache.cache, segments.segments, int(heads), out_.f32()};
  const auto run = [args, total, pages = cache.pages](Backend& b) {
    check_segments(args.segments, total, pages);
    attend(b, args);
  };
  perform(backend, run, qg_, norm_, out_, cache.k, cache.v, cache.k_scale, cache.v_scale,
          rotation.cos, rotation.sin, segments.page_table, segments.row_start, segments.rows,
          segments.pos_start);
}

// What a delta-net says about slots, pending rows and rows of the batch.
void check_slots(const DeltaNet& a, int64_t total, int64_t slots) {
  check_rows(a.row_start, a.rows, a.segments, total);
  static thread_local std::vector<char> taken;
  taken.assign(size_t(slots), 0);
  for (int i = 0; i < a.segments; ++i) {
    const int32_t s = a.slot[i], r = a.rows[i], f = a.fold[i], n = a.final[i];
    require(s >= 0 && s < slots, "slot[", i, "] is ", s, ", outside 0..", slots - 1);
    require(!taken[size_t(s)], "slot[", i, "] appears twice");
    taken[size_t(s)] = 1;
    require(f >= 0 && f <= a.pending, "fold[", i, "] is ", f, ", outside 0..", a.pending);
    require(n >= 0 && n <= r, "final[", i, "] is ", n, ", outside 0..", r);
    require(r - n <= a.pending, "segment ", i, " leaves ", r - n,
            " rows pending; there is room for ", a.pending);
  }
}

void delta_net(Backend& backend, const DeltaNet& args) {
  const int64_t scratch = delta_net_scratch(args);
  const auto kernel = backend.kernels.sequence.delta_net;
  const int heads = args.key_heads;
  backend.pool.run(args.segments * heads, [&args, kernel, scratch, heads](int task, int) {
    kernel(args, task / heads, task % heads, task_scratch.floats(scratch));
  });
}

void py_delta_net(Backend& backend, nb::handle qkv, nb::handle z, nb::handle beta, nb::handle alpha,
                  nb::handle conv_w, nb::handle ssm_a, nb::handle dt_bias, nb::handle norm_w,
                  double eps, nb::handle state, nb::handle conv, nb::handle pending_k,
                  nb::handle pending_delta, nb::handle pending_decay, nb::handle pending_u,
                  nb::handle slot, nb::handle row_start, nb::handle rows, nb::handle fold,
                  nb::handle final, nb::handle out) {
  const Array state_(state, "state", Dtype::f32, {-1, -1, -1, -1}, Access::write);
  const int64_t slots = state_.dim(0), value_heads = state_.dim(1), dk = state_.dim(2),
                dv = state_.dim(3);
  require(
      dk > 0 && dv > 0 && dk % 16 == 0 && dv % 16 == 0 && dk <= kMaxStateDim && dv <= kMaxStateDim,
      "state heads of ", dk, " x ", dv, ": both must be multiples of 16 and at most ",
      kMaxStateDim);
  const Array qkv_(qkv, "qkv", Dtype::f32, {-1, -1});
  const int64_t total = qkv_.dim(0), conv_dim = qkv_.dim(1);
  const int64_t key_width = conv_dim - value_heads * dv;
  require(key_width > 0 && key_width % (2 * dk) == 0, "qkv is ", conv_dim, " wide; after ",
          value_heads, " value heads no whole number of query and key heads is left");
  const int64_t key_heads = key_width / (2 * dk);
  require(value_heads % key_heads == 0, value_heads, " value heads do not divide among ", key_heads,
          " key heads");
  const Array z_(z, "z", Dtype::f32, {total, value_heads * dv});
  const Array beta_(beta, "beta", Dtype::f32, {total, value_heads});
  const Array alpha_(alpha, "alpha", Dtype::f32, {total, value_heads});
  const Array conv_w_(conv_w, "conv_w", Dtype::f32, {conv_dim, -1});
  const int64_t taps = conv_w_.dim(1);
  require(taps >= 2 && taps <= kMaxTaps, "conv_w has ", taps, " taps; 2..", kMaxTaps,
          " are supported");
  const Array ssm_a_(ssm_a, "ssm_a", Dtype::f32, {value_heads});
  const Array dt_bias_(dt_bias, "dt_bias", Dtype::f32, {value_heads});
  const Array norm_(norm_w, "norm_w", Dtype::f32, {dv});
  const Array conv_(conv, "conv", Dtype::f32, {slots, taps - 1, conv_dim}, Access::write);
  const Array p_k(pending_k, "pending_k", Dtype::f32, {slots, -1, key_heads * dk}, Access::write);
  const int64_t pending = p_k.dim(1);
  const Array p_delta(pending_delta, "pending_delta", Dtype::f32,
                      {slots, pending, value_heads * dv}, Access::write);
  const Array p_decay(pending_decay, "pending_decay", Dtype::f32, {slots, pending, value_heads},
                      Access::write);
  const Array p_u(pending_u, "pending_u", Dtype::f32, {slots, pending, conv_dim}, Access::write);
  const Array slot_(slot, "slot", Dtype::i32, {-1});
  const int64_t count = slot_.dim(0);
  const Array row_start_(row_start, "row_start", Dtype::i32, {count});
  const Array rows_(rows, "rows", Dtype::i32, {count});
  const Array fold_(fold, "fold", Dtype::i32, {count});
  const Array final_(final, "final", Dtype::i32, {count});
  const Array out_(out, "out", Dtype::f32, {total, value_heads * dv}, Access::write);

  const DeltaNet args{
      qkv_.f32(),     z_.f32(),      beta_.f32(), alpha_.f32(),  conv_w_.f32(),    ssm_a_.f32(),
      dt_bias_.f32(), norm_.f32(),   float(eps),  state_.f32(),  conv_.f32(),      p_k.f32(),
      p_delta.f32(),  p_decay.f32(), p_u.f32(),   slot_.i32(),   row_start_.i32(), rows_.i32(),
      fold_.i32(),    final_.i32(),  int(count),  int(pending),  int(key_heads),   int(value_heads),
      int(dk),        int(dv),       int(taps),   int(conv_dim), out_.f32()};
  const auto run = [args, total, slots](Backend& b) {
    check_slots(args, total, slots);
    delta_net(b, args);
  };
  perform(backend, run, qkv_, z_, beta_, alpha_, conv_w_, ssm_a_, dt_bias_, norm_, state_, conv_,
          p_k, p_delta, p_decay, p_u, slot_, row_start_, rows_, fold_, final_, out_);
}

}  // namespace

void bind_sequence(nb::module_& m) {
  m.def("kv_store", &py_kv_store, nb::arg("backend"), nb::arg("k"), nb::arg("v"), nb::arg("k_norm"),
        nb::arg("eps"), nb::arg("cos"), nb::arg("sin"), nb::arg("k_cache"), nb::arg("v_cache"),
        nb::arg("k_scale").none(), nb::arg("v_scale").none(), nb::arg("page_table"),
        nb::arg("row_start"), nb::arg("rows"), nb::arg("pos_start"),
        "Norm, rotate and store keys, store values. k, v [T, heads * dim]; caches [pages, heads, "
        "64, dim] of float16 bits, or int8 with float16 scales [..., dim / 32]; page_table "
        "[S, pages of a segment]. Raises ValueError, naming the argument.");
  m.def("attend", &py_attend, nb::arg("backend"), nb::arg("qg"), nb::arg("q_norm"), nb::arg("eps"),
        nb::arg("cos"), nb::arg("sin"), nb::arg("k_cache"), nb::arg("v_cache"),
        nb::arg("k_scale").none(), nb::arg("v_scale").none(), nb::arg("page_table"),
        nb::arg("row_start"), nb::arg("rows"), nb::arg("pos_start"), nb::arg("out"),
        "Causal attention over stored positions, times sigmoid(gate). qg [T, query heads, 2, dim] "
        "flat, out [T, query heads * dim]; caches as for kv_store. Raises ValueError, naming the "
        "argument.");
  m.def("delta_net", &py_delta_net, nb::arg("backend"), nb::arg("qkv"), nb::arg("z"),
        nb::arg("beta"), nb::arg("alpha"), nb::arg("conv_w"), nb::arg("ssm_a"), nb::arg("dt_bias"),
        nb::arg("norm_w"), nb::arg("eps"), nb::arg("state"), nb::arg("conv"), nb::arg("pending_k"),
        nb::arg("pending_delta"), nb::arg("pending_decay"), nb::arg("pending_u"), nb::arg("slot"),
        nb::arg("row_start"), nb::arg("rows"), nb::arg("fold"), nb::arg("final"), nb::arg("out"),
        "Convolution, gates, recurrence and gated norm of all segments. state [slots, value heads, "
        "dk, dv] and conv [slots, taps - 1, channels] end after `fold` pending and `final` new "
        "rows; later rows become pending. Raises ValueError, naming the argument.");
}

}  // namespace headlong
