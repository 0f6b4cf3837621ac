// The displacement-window recursion of one image pair by a block of warps: recursion.h for GPUs.
//
// A lane is a column of the first image, and a warp takes one displacement's slice (or 32 / segment
// of them, where images are narrow) row by row. A convolution needs three rows, so a row can go
// through all layers of a level while only two rows of sums are kept for each convolution: a slice
// lives in registers. The pullback follows in the same sweep, 2 x convolutions rows behind.
//
// Plan and Level<L> hold the architecture: constants of a program that is compiled for it on a GPU,
// variables in the emulation (emulated.cpp).

namespace kipax {
namespace KIPAX_ISA {

struct Pair {  // pixels and scales of both images
  const float *x1, *s1, *x2, *s2;
  bool same;
};

struct Value {
  real k, t;
};

struct Window {  // the last two rows of horizontal sums
  real before, last;
};

template <int L>
KIPAX_INLINE bool IsConv(int stage) {
  return (Level<L>::conv >> stage) & 1;
}

template <int L>
KIPAX_INLINE bool IsRelu(int stage) {
  return (Level<L>::relu >> stage) & 1;
}

template <int L>
KIPAX_INLINE bool IsLast() {
  return L + 1 == Plan::levels;
}

// ---- slices --------------------------------------------------------------------------------------

struct Range {  // displacements first, first + step, ... along each axis
  int y, y_step, ys, x, x_step, xs;
  KIPAX_INLINE_MEMBER int count() const { return ys * xs; }
};

struct Run {
  int first, step, count;
};

// Displacements whose pools share no place: even ones, those of remainder 1 by 4, and of 3.
KIPAX_INLINE Run Shares(int radius, int which) {
  if (which == 0) return {-(radius & ~1), 2, (radius & ~1) + 1};
  const int rest = which == 1 ? 1 : 3, first = -radius + ((rest + radius) & 3);
  return {first, 4, first > radius ? 0 : (radius - first) / 4 + 1};
}

template <int L>
KIPAX_INLINE Range EverySlice() {
  constexpr int step = 1;
  return {-Level<L>::ry, step, 2 * Level<L>::ry + 1, -Level<L>::rx, step, 2 * Level<L>::rx + 1};
}

template <int L>
KIPAX_INLINE Range SlicesApart(int which_y, int which_x) {
  const Run y = Shares(Level<L>::ry, which_y), x = Shares(Level<L>::rx, which_x);
  return {y.first, y.step, y.count, x.first, x.step, x.count};
}

template <int L>
struct Slice {
  lane_int dy, dx, x, segment;
  lane_int first, second;  // where the columns of row 0 lie on either side
  lane_int in_table;       // and in the level's table: the covariance, its companion h x w behind
  real inside_before, inside_after;  // 0 where the neighbouring column is no part of the slice
  mask columns;
  int begin, end;  // rows in which a lane may have a partner

  KIPAX_INLINE_MEMBER Slice(const Range& range, int at) {
    const lane_int index = Lane() / Level<L>::segment + at;
    const real one = real{} + 1.0f, zero = real{};
    segment = Lane() / Level<L>::segment;
    x = Lane() % Level<L>::segment;
    dy = index / range.xs * range.y_step + range.y;
    dx = index % range.xs * range.x_step + range.x;
    first = x;
    second = x - dx - dy * Level<L>::w;
    const lane_int slice = (dy + Level<L>::ry) * (2 * Level<L>::rx + 1) + dx + Level<L>::rx;
    in_table = slice * (2 * Level<L>::h * Level<L>::w) + x;
    inside_before = x == 0 ? zero : one;
    inside_after = x == Level<L>::segment - 1 ? zero : one;
    columns = (index < range.count()) & (x < Level<L>::w) & (x >= dx) & (x - dx < Level<L>::w);
    begin = Level<L>::h, end = 0;
    for (int i = at; i < at + Level<L>::groups && i < range.count(); ++i) {
      const int y = i / range.xs * range.y_step + range.y;
      const int start = y > 0 ? y : 0, stop = Level<L>::h + (y < 0 ? y : 0);
      begin = begin < start ? begin : start;
      end = end > stop ? end : stop;
    }
  }

  KIPAX_INLINE_MEMBER mask Valid(int y) const {
    const mask rows = Uniform(y >= begin && y < end);
    if (Level<L>::groups == 1) return columns & rows;
    return columns & rows & (y >= dy) & (y - dy < Level<L>::h);
  }
};

// Where the pool takes a slice: places in the next level's table, of even rows and of odd ones.
template <int L>
struct Pooling {
  typedef Level<L + 1> Next;
  lane_int at[2];
  mask inside[2];
  mask joined;  // both columns of a pooled one go to the same place

  KIPAX_INLINE_MEMBER explicit Pooling(const Slice<L>& s) {
    joined = (s.dx & 1) == 0;
    const lane_int dx = (s.dx + 1 - (s.x & 1)) >> 1;
    // Odd sizes: the last row and column of either image go nowhere.
    const mask columns = (s.x < 2 * Next::w) & (s.x - s.dx < 2 * Next::w) & (dx <= Next::rx) &
                         (dx >= -Next::rx);
    KIPAX_UNROLL
    for (int odd = 0; odd < 2; ++odd) {
      const lane_int dy = (s.dy + 1 - odd) >> 1;
      const lane_int index = (dy + Next::ry) * (2 * Next::rx + 1) + dx + Next::rx;
      at[odd] = index * (2 * Next::h * Next::w) + (s.x >> 1);
      inside[odd] = columns & (dy <= Next::ry) & (dy >= -Next::ry);
    }
  }
  KIPAX_INLINE_MEMBER lane_int Lanes(int y) const { return y & 1 ? at[1] : at[0]; }
  KIPAX_INLINE_MEMBER int Row(int y) const { return (y >> 1) * Next::w + Next::table; }
  KIPAX_INLINE_MEMBER mask Valid(const Slice<L>& s, int y) const {
    return s.Valid(y) & (y & 1 ? inside[1] : inside[0]) & (y - s.dy < 2 * Next::h) &
           Uniform(y < 2 * Next::h);
  }
};

// ---- rows ----------------------------------------------------------------------------------------

template <int L>
KIPAX_INLINE real Across(real a, const Slice<L>& s) {
  return a + FromBefore(a) * s.inside_before + FromAfter(a) * s.inside_after;
}

// Sums over 3 x 3 neighbours of the row before, once its successor `a` has come.
template <int L>
KIPAX_INLINE real Box(Window& w, real a, const Slice<L>& s) {
  const real row = Across<L>(a, s), sum = w.before + w.last + row;
  w.before = w.last;
  w.last = row;
  return sum;
}

struct Scales {
  real first, second;
};

template <int L>
KIPAX_INLINE Scales ScalesAt(const Pair& pair, const Slice<L>& s, int stage, int y, mask valid) {
  const int turn = Count(Level<L>::relu & ((1u << stage) - 1));
  const int at = Level<L>::scales + turn * Level<L>::h * Level<L>::w;
  return {Get(pair.s1, s.first, y * Level<L>::w + at, valid),
          Get(pair.s2, s.second, y * Level<L>::w + at, valid)};
}

template <int L>
KIPAX_INLINE DualOf<real> Rectify(const Pair& pair, const Slice<L>& s, const Scales& scales, real n) {
  const real zero = real{}, one = zero + 1.0f, m = scales.first * scales.second;
  const real inverse = m > zero ? Reciprocal(m > zero ? m : one) : zero;
  const mask twin = Uniform(pair.same) & (s.dy == 0) & (s.dx == 0);
  return ReluDual(n, m, inverse, twin ? one : zero - 1.0f);
}

template <int L>
KIPAX_INLINE Value Enter(const Pair& pair, const float* tables, const Slice<L>& s, int y) {
  const mask valid = s.Valid(y);
  const int row = y * Level<L>::w;
  if constexpr (L > 0) {
    const int at = row + Level<L>::table;
    return {Get(tables, s.in_table, at, valid),
            Plan::ntk ? Get(tables, s.in_table, at + Level<L>::h * Level<L>::w, valid) : real{}};
  } else {
    real sum{};
    KIPAX_UNROLL
    for (int c = 0; c < Plan::channels; ++c) {
      sum += Get(pair.x1, s.first * Plan::channels, row * Plan::channels + c, valid) *
             Get(pair.x2, s.second * Plan::channels, row * Plan::channels + c, valid);
    }
    return {sum * (1.0f / Plan::channels), real{}};
  }
}

template <int L>
struct Flow {  // what each convolution of a level remembers
  Window k[kMaxStages] = {}, t[kMaxStages] = {};
};

// Takes a row through a level's layers: v was row y on entering, and leaves as row y - convs.
// Calls keep(stage, covariance, companion) with what enters each ReLU.
template <int L, typename Keep>
KIPAX_INLINE Value Advance(const Pair& pair, const Slice<L>& s, int y, Flow<L>& flow, Value v,
                           Keep&& keep) {
  const real zero = real{};
  KIPAX_UNROLL
  for (int i = 0; i < Level<L>::stages; ++i) {
    if (IsConv<L>(i)) {
      y -= 1;
      v.k = Box<L>(flow.k[i], v.k, s) * Plan::box + Plan::bias;
      if (Plan::ntk) v.t = v.k + Box<L>(flow.t[i], v.t, s) * Plan::box;
    }
    const mask valid = s.Valid(y);
    if (IsRelu<L>(i)) {
      keep(i, v.k, v.t);
      const DualOf<real> d = Rectify<L>(pair, s, ScalesAt<L>(pair, s, i, y, valid), v.k);
      v = {d.k, v.t * d.slope};
    }
    v = {valid ? v.k : zero, valid ? v.t : zero};
  }
  return v;
}

// ---- forward -------------------------------------------------------------------------------------

template <int L>
KIPAX_INLINE void AddPooled(float* tables, const Slice<L>& s, const Pooling<L>& pool, int y,
                            Value v) {
  typedef Level<L + 1> Next;
  const real after_k = FromAfter(v.k), after_t = FromAfter(v.t);
  const mask writes = pool.Valid(s, y) & (((s.x & 1) == 0) | ((s.dx & 1) != 0));
  const real k = pool.joined ? v.k + after_k : v.k, t = pool.joined ? v.t + after_t : v.t;
  Add(tables, pool.Lanes(y), pool.Row(y), k * 0.0625f, writes);
  if (Plan::ntk) Add(tables, pool.Lanes(y), pool.Row(y) + Next::h * Next::w, t * 0.0625f, writes);
}

// Calls use(y, v) with every row of a slice after the level's layers.
template <int L, typename Use>
KIPAX_INLINE void RunSlice(const Pair& pair, const float* tables, const Slice<L>& s, Use&& use) {
  Flow<L> flow;
  for (int y = s.begin; y < s.end + Level<L>::convs; ++y) {
    const Value v = Enter<L>(pair, tables, s, y);
    use(y - Level<L>::convs, Advance<L>(pair, s, y, flow, v, [](int, real, real) {}));
  }
}

// Pools a level into the next one's table; the last leaves the warps' sums in `partial`.
template <int L>
KIPAX_INLINE void RunLevel(const Block& block, const Pair& pair, float* tables, float* partial) {
  if constexpr (L + 1 < kMaxLevels) {
    if (!IsLast<L>()) block.Zero(tables + Level<L + 1>::table, Level<L + 1>::table_size);
  }
  block.Sync();
  const int parts = IsLast<L>() ? 1 : 3;
  for (int part = 0; part < parts * parts; ++part) {
    const Range range =
        IsLast<L>() ? EverySlice<L>() : SlicesApart<L>(part / parts, part % parts);
    block.EachWarp([&](int warp) {
      Value sum{};
      for (int i = warp * Level<L>::groups; i < range.count();
           i += block.warps() * Level<L>::groups) {
        const Slice<L> s(range, i);
        if (IsLast<L>()) {
          RunSlice<L>(pair, tables, s, [&](int, Value v) { sum.k += v.k, sum.t += v.t; });
        } else if constexpr (L + 1 < kMaxLevels) {
          const Pooling<L> pool(s);
          RunSlice<L>(pair, tables, s,
                      [&](int y, Value v) { AddPooled<L>(tables, s, pool, y, v); });
        }
      }
      if (IsLast<L>()) {
        partial[2 * warp] = WarpSum(sum.k);
        partial[2 * warp + 1] = WarpSum(sum.t);
      }
    });
    block.Sync();
  }
}

// Levels from L up to, not including, `stop`.
template <int L = 0>
KIPAX_INLINE void RunLevels(const Block& block, const Pair& pair, float* tables, float* partial,
                            int stop) {
  if (L < stop) RunLevel<L>(block, pair, tables, partial);
  if constexpr (L + 1 < kMaxLevels) RunLevels<L + 1>(block, pair, tables, partial, stop);
}

// Means over the readout's positions, into k and t.
KIPAX_INLINE void RunPair(const Block& block, const Pair& pair, float* tables, float* partial,
                          float* k, float* t) {
  RunLevels(block, pair, tables, partial, Plan::levels);
  block.EachWarp([&](int warp) {
    if (warp) return;
    float k_sum = 0, t_sum = 0;
    for (int i = 0; i < block.warps(); ++i) k_sum += partial[2 * i], t_sum += partial[2 * i + 1];
    *k = k_sum * Plan::mean, *t = t_sum * Plan::mean;  // every lane writes the same
  });
  block.Sync();
}

// ---- backward ------------------------------------------------------------------------------------

struct Lines {  // the covariances and companions of a ReLU's last rows, newest first
  real n[kMaxDelay + 1], t[kMaxDelay + 1];
};

// By how many rows the pullback of a stage lags behind its forward pass.
template <int L>
KIPAX_INLINE int Delay(int stage) {
  return 2 * Count(unsigned(Level<L>::conv) >> (stage + 1));
}

// Cotangents of a level's results: of a row from the table above, or of the readout's mean.
template <int L>
KIPAX_INLINE Value Unpool(const float* tables, const Slice<L>& s, const Pooling<L>& pool, int y) {
  typedef Level<L + 1> Next;
  const mask valid = pool.Valid(s, y);
  const lane_int lanes = pool.Lanes(y);
  const int row = pool.Row(y);
  return {Get(tables, lanes, row, valid) * 0.0625f,
          Plan::ntk ? Get(tables, lanes, row + Next::h * Next::w, valid) * 0.0625f : real{}};
}

// Cotangents of what entered a level: to the table, over the values; to the pixels at the first.
template <int L>
KIPAX_INLINE void Leave(const Pair& pair, float* tables, float* sums, const Slice<L>& s, int y,
                        Value g) {
  const mask valid = s.Valid(y);
  const int row = y * Level<L>::w;
  if constexpr (L > 0) {
    const int at = row + Level<L>::table;
    Put(tables, s.in_table, at, g.k, valid);
    if (Plan::ntk) Put(tables, s.in_table, at + Level<L>::h * Level<L>::w, g.t, valid);
  } else {
    const real shared = g.k * (1.0f / Plan::channels);
    const lane_int own = s.segment * Plan::pixels + s.second * Plan::channels;
    KIPAX_UNROLL
    for (int c = 0; c < Plan::channels; ++c) {
      const int at = row * Plan::channels + c;
      const real x = Get(pair.x1, s.first * Plan::channels, at, valid);
      Add(sums, own, at, shared * x, valid);
    }
  }
}

// Adds to `sums`, a warp's own; segments of a warp, whose lanes may meet, have parts of their own.
// cotangent(y) is that of the level's results in row y.
template <int L, typename Cotangent>
KIPAX_INLINE void PullSlice(const Pair& pair, float* tables, float* sums, const Slice<L>& s,
                            Cotangent&& cotangent) {
  const real zero = real{};
  Flow<L> flow, back;
  Lines lines[kMaxStages] = {};
  for (int newest = s.begin; newest < s.end + 2 * Level<L>::convs; ++newest) {
    const Value entered = Enter<L>(pair, tables, s, newest);
    Advance<L>(pair, s, newest, flow, entered, [&](int i, real n, real t) {
      KIPAX_UNROLL
      for (int j = kMaxDelay; j > 0; --j) {
        lines[i].n[j] = lines[i].n[j - 1];
        lines[i].t[j] = lines[i].t[j - 1];
      }
      lines[i].n[0] = n;
      lines[i].t[0] = t;
    });
    int y = newest - Level<L>::convs;
    Value g = cotangent(y);
    KIPAX_UNROLL
    for (int i = Level<L>::stages - 1; i >= 0; --i) {
      mask valid = s.Valid(y);
      if (IsRelu<L>(i)) {
        const Scales scales = ScalesAt<L>(pair, s, i, y, valid);
        const DualOf<real> d = Rectify<L>(pair, s, scales, lines[i].n[Delay<L>(i)]);
        const DualPulled<real> pulled =
            Plan::ntk ? PullDual<true>(d, g.k, g.t, lines[i].t[Delay<L>(i)])
                      : PullDual<false>(d, g.k, zero, zero);
        g = {valid ? pulled.n : zero, valid ? pulled.t : zero};
        const int turn = Count(Level<L>::relu & ((1u << i) - 1)), size = Level<L>::h * Level<L>::w;
        const lane_int own = s.segment * (Level<L>::relus * size) + s.second;
        Add(sums, own, y * Level<L>::w + turn * size + Level<L>::sums, pulled.m * scales.first,
            valid);
      }
      if (IsConv<L>(i)) {
        y -= 1;
        valid = s.Valid(y);
        const real k = Box<L>(back.k[i], g.k, s) * Plan::box;
        const real t = Plan::ntk ? Box<L>(back.t[i], g.t, s) * Plan::box : zero;
        g = {valid ? k + t : zero, valid ? t : zero};
      }
    }
    Leave<L>(pair, tables, sums, s, y, g);
  }
}

// From the last level down; `RunLevels` must have filled the tables.
template <int L = 0>
KIPAX_INLINE void PullLevels(const Block& block, const Pair& pair, float* tables, float* sums,
                             Value cotangent) {
  if constexpr (L + 1 < kMaxLevels) {
    if (!IsLast<L>()) PullLevels<L + 1>(block, pair, tables, sums, cotangent);
  }
  const Range range = EverySlice<L>();
  block.EachWarp([&](int warp) {
    for (int i = warp * Level<L>::groups; i < range.count(); i += block.warps() * Level<L>::groups) {
      const Slice<L> s(range, i);
      float* own = sums + size_t(warp) * Plan::sums;
      if (IsLast<L>()) {
        const real zero = real{}, k = cotangent.k * Plan::mean, t = cotangent.t * Plan::mean;
        PullSlice<L>(pair, tables, own, s, [&](int y) {
          const mask valid = s.Valid(y);
          return Value{valid ? k : zero, valid ? t : zero};
        });
      } else if constexpr (L + 1 < kMaxLevels) {
        const Pooling<L> pool(s);
        PullSlice<L>(pair, tables, own, s, [&](int y) { return Unpool<L>(tables, s, pool, y); });
      }
      block.SyncWarp();  // the next slice adds to what other lanes wrote
    }
  });
  block.Sync();
}

// Adds the cotangents of the second image's pixels and scales to each warp's `sums`.
KIPAX_INLINE void PullPair(const Block& block, const Pair& pair, float* tables, float* partial,
                           float* sums, float gk, float gt) {
  RunLevels(block, pair, tables, partial, Plan::levels - 1);
  PullLevels(block, pair, tables, sums, Value{real{} + gk, real{} + gt});
}

// The total of element e (pixels, then scales) over `count` warps' sums.
template <int L = 0>
KIPAX_INLINE double Total(const float* sums, int count, int e) {
  int at = e, copies = Level<0>::groups, stride = Plan::pixels;
  if (e >= Plan::pixels) {
    const int size = Level<L>::relus * Level<L>::h * Level<L>::w;
    const int place = e - Plan::pixels - Level<L>::scales;
    if constexpr (L + 1 < kMaxLevels) {
      if (place >= size) return Total<L + 1>(sums, count, e);
    }
    at = Level<L>::sums + place, copies = Level<L>::groups, stride = size;
  }
  double total = 0;
  for (int i = 0; i < count; ++i) {
    for (int j = 0; j < copies; ++j) total += sums[size_t(i) * Plan::sums + at + j * stride];
  }
  return total;
}

}  // namespace KIPAX_ISA
}  // namespace kipax
