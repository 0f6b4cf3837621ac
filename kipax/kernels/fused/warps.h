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
    Pin(first), Pin(second), Pin(in_table);
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
  lane_int even, odd;
  lane_int inside;  // bit 0: even rows go somewhere, bit 1: odd ones
  lane_int writes;  // likewise, less the lanes that another one adds for
  mask joined;      // both columns of a pooled one go to the same place

  KIPAX_INLINE_MEMBER explicit Pooling(const Slice<L>& s) {
    joined = (s.dx & 1) == 0;
    const lane_int dx = (s.dx + 1 - (s.x & 1)) >> 1, none = s.x - s.x;
    // Odd sizes: the last row and column of either image go nowhere.
    const mask columns = (s.x < 2 * Next::w) & (s.x - s.dx < 2 * Next::w) & (dx <= Next::rx) &
                         (dx >= -Next::rx);
    lane_int at[2];
    inside = none;
    KIPAX_UNROLL
    for (int i = 0; i < 2; ++i) {
      const lane_int dy = (s.dy + 1 - i) >> 1;
      const lane_int index = (dy + Next::ry) * (2 * Next::rx + 1) + dx + Next::rx;
      at[i] = index * (2 * Next::h * Next::w) + (s.x >> 1);
      inside += columns & (dy <= Next::ry) & (dy >= -Next::ry) ? none + (1 << i) : none;
    }
    even = at[0], odd = at[1];
    writes = ((s.x & 1) == 0) | ((s.dx & 1) != 0) ? inside : none;
    Pin(even), Pin(odd), Pin(inside), Pin(writes);
  }

  KIPAX_INLINE_MEMBER lane_int Lanes(int y) const { return y & 1 ? odd : even; }
  KIPAX_INLINE_MEMBER int Row(int y) const { return (y >> 1) * Next::w + Next::table; }
  // Which lanes of row y take part, of `which`: `inside` or `writes`.
  KIPAX_INLINE_MEMBER mask Valid(const Slice<L>& s, lane_int which, int y) const {
    const mask valid = s.Valid(y) & (((which >> (y & 1)) & 1) != 0);
    if (Level<L>::h == 2 * Next::h) return valid;
    return valid & (y - s.dy < 2 * Next::h) & Uniform(y < 2 * Next::h);
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

// Where a slice's row lies on both sides and in the level's table; `lag` rows before it lie before.
template <int L>
struct Rows {
  Source x1, x2, s1, s2;
  Place table;

  KIPAX_INLINE_MEMBER Rows(const Pair& pair, float* tables, const Slice<L>& s)
      : x1(At(pair.x1, s.first * Plan::channels)), x2(At(pair.x2, s.second * Plan::channels)),
        s1(At(pair.s1 + Level<L>::scales, s.first)), s2(At(pair.s2 + Level<L>::scales, s.second)),
        table(At(tables + Level<L>::table, s.in_table)) {
    Move(s.begin);
  }
  KIPAX_INLINE_MEMBER void Move(int rows) {
    x1 += rows * Level<L>::w * Plan::channels;
    x2 += rows * Level<L>::w * Plan::channels;
    s1 += rows * Level<L>::w;
    s2 += rows * Level<L>::w;
    table += rows * Level<L>::w;
  }
};

struct Scales {
  real first, second;
};

// Which of a level's ReLUs a stage has.
template <int L>
KIPAX_INLINE int Turn(int stage) {
  return Count(Level<L>::relu & ((1u << stage) - 1));
}

template <int L>
KIPAX_INLINE Scales ScalesAt(const Rows<L>& rows, int stage, int lag, mask valid) {
  const int at = (Turn<L>(stage) * Level<L>::h - lag) * Level<L>::w;
  return {Get(rows.s1, at, valid), Get(rows.s2, at, valid)};
}

template <int L>
KIPAX_INLINE DualOf<real> Rectify(const Pair& pair, const Slice<L>& s, const Scales& scales, real n) {
  const real zero = real{}, one = zero + 1.0f, m = scales.first * scales.second;
  const real inverse = m > zero ? Reciprocal(m > zero ? m : one) : zero;
  const mask twin = Uniform(pair.same) & (s.dy == 0) & (s.dx == 0);
  return ReluDual(n, m, inverse, twin ? one : zero - 1.0f);
}

template <int L>
KIPAX_INLINE Value Enter(const Rows<L>& rows, mask valid) {
  if constexpr (L > 0) {
    return {Get(rows.table, 0, valid),
            Plan::ntk ? Get(rows.table, Level<L>::h * Level<L>::w, valid) : real{}};
  } else {
    real sum{};
    KIPAX_UNROLL
    for (int c = 0; c < Plan::channels; ++c) sum += Get(rows.x1, c, valid) * Get(rows.x2, c, valid);
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
KIPAX_INLINE Value Advance(const Pair& pair, const Slice<L>& s, const Rows<L>& rows, int y,
                           Flow<L>& flow, Value v, Keep&& keep) {
  const real zero = real{};
  int lag = 0;
  KIPAX_UNROLL
  for (int i = 0; i < Level<L>::stages; ++i) {
    if (IsConv<L>(i)) {
      lag += 1;
      v.k = Box<L>(flow.k[i], v.k, s) * Plan::box + Plan::bias;
      if (Plan::ntk) v.t = v.k + Box<L>(flow.t[i], v.t, s) * Plan::box;
    }
    const mask valid = s.Valid(y - lag);
    if (IsRelu<L>(i)) {
      keep(i, v.k, v.t);
      const DualOf<real> d = Rectify<L>(pair, s, ScalesAt<L>(rows, i, lag, valid), v.k);
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
  const mask writes = pool.Valid(s, pool.writes, y);
  const real k = pool.joined ? v.k + after_k : v.k, t = pool.joined ? v.t + after_t : v.t;
  const Place to = At(tables + pool.Row(y), pool.Lanes(y));
  Add(to, 0, k * 0.0625f, writes);
  if (Plan::ntk) Add(to, Next::h * Next::w, t * 0.0625f, writes);
}

// Calls use(y, v) with every row of a slice after the level's layers.
template <int L, typename Use>
KIPAX_INLINE void RunSlice(const Pair& pair, float* tables, const Slice<L>& s, Use&& use) {
  Flow<L> flow;
  Rows<L> rows(pair, tables, s);
  KIPAX_PAIRS_OF_ROWS
  for (int y = s.begin; y < s.end + Level<L>::convs; ++y, rows.Move(1)) {
    const Value v = Enter<L>(rows, s.Valid(y));
    use(y - Level<L>::convs, Advance<L>(pair, s, rows, y, flow, v, [](int, real, real) {}));
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

// Cotangents of a level's results in a row, from the table above.
template <int L>
KIPAX_INLINE Value Unpool(const float* tables, const Slice<L>& s, const Pooling<L>& pool, int y) {
  typedef Level<L + 1> Next;
  const mask valid = pool.Valid(s, pool.inside, y);
  const Source from = At(tables + pool.Row(y), pool.Lanes(y));
  return {Get(from, 0, valid) * 0.0625f,
          Plan::ntk ? Get(from, Next::h * Next::w, valid) * 0.0625f : real{}};
}

// A warp's sums over the second image's pixels and the level's scales, at the row of `Rows`.
// Segments of a warp, whose lanes may meet, have parts of their own.
template <int L>
struct Sums {
  Place x, s;

  KIPAX_INLINE_MEMBER Sums(float* sums, const Slice<L>& slice)
      : x(At(sums, slice.segment * Plan::pixels + slice.second * Plan::channels)),
        s(At(sums + Level<L>::sums,
             slice.segment * (Level<L>::relus * Level<L>::h * Level<L>::w) + slice.second)) {
    Move(slice.begin);
  }
  KIPAX_INLINE_MEMBER void Move(int rows) {
    x += rows * Level<L>::w * Plan::channels;
    s += rows * Level<L>::w;
  }
};

// Cotangents of what entered a level: to the table, over the values; to the pixels at the first.
template <int L>
KIPAX_INLINE void Leave(const Rows<L>& rows, const Sums<L>& sums, int lag, mask valid, Value g) {
  const int row = -lag * Level<L>::w;
  if constexpr (L > 0) {
    Put(rows.table, row, g.k, valid);
    if (Plan::ntk) Put(rows.table, row + Level<L>::h * Level<L>::w, g.t, valid);
  } else {
    const real shared = g.k * (1.0f / Plan::channels);
    KIPAX_UNROLL
    for (int c = 0; c < Plan::channels; ++c) {
      const int at = row * Plan::channels + c;
      Add(sums.x, at, shared * Get(rows.x1, at, valid), valid);
    }
  }
}

// cotangent(y) is that of the level's results in row y.
template <int L, typename Cotangent>
KIPAX_INLINE void PullSlice(const Pair& pair, float* tables, float* own, const Slice<L>& s,
                            Cotangent&& cotangent) {
  const real zero = real{};
  Flow<L> flow, back;
  Lines lines[kMaxStages] = {};
  Rows<L> rows(pair, tables, s);
  Sums<L> sums(own, s);
  KIPAX_PAIRS_OF_ROWS
  for (int y = s.begin; y < s.end + 2 * Level<L>::convs; ++y, rows.Move(1), sums.Move(1)) {
    const Value entered = Enter<L>(rows, s.Valid(y));
    Advance<L>(pair, s, rows, y, flow, entered, [&](int i, real n, real t) {
      KIPAX_UNROLL
      for (int j = kMaxDelay; j > 0; --j) {
        lines[i].n[j] = lines[i].n[j - 1];
        lines[i].t[j] = lines[i].t[j - 1];
      }
      lines[i].n[0] = n;
      lines[i].t[0] = t;
    });
    int lag = Level<L>::convs;
    Value g = cotangent(y - lag);
    KIPAX_UNROLL
    for (int i = Level<L>::stages - 1; i >= 0; --i) {
      mask valid = s.Valid(y - lag);
      if (IsRelu<L>(i)) {
        const Scales scales = ScalesAt<L>(rows, i, lag, valid);
        const DualOf<real> d = Rectify<L>(pair, s, scales, lines[i].n[Delay<L>(i)]);
        const DualPulled<real> pulled =
            Plan::ntk ? PullDual<true>(d, g.k, g.t, lines[i].t[Delay<L>(i)])
                      : PullDual<false>(d, g.k, zero, zero);
        g = {valid ? pulled.n : zero, valid ? pulled.t : zero};
        const int at = (Turn<L>(i) * Level<L>::h - lag) * Level<L>::w;
        Add(sums.s, at, pulled.m * scales.first, valid);
      }
      if (IsConv<L>(i)) {
        lag += 1;
        valid = s.Valid(y - lag);
        const real k = Box<L>(back.k[i], g.k, s) * Plan::box;
        const real t = Plan::ntk ? Box<L>(back.t[i], g.t, s) * Plan::box : zero;
        g = {valid ? k + t : zero, valid ? t : zero};
      }
    }
    Leave<L>(rows, sums, lag, s.Valid(y - lag), g);
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
