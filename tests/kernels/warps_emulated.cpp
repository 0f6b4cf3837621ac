// The GPU's kernels on a CPU, a warp's lanes as a vector: test_warps.py builds and calls it.
#define KIPAX_ISA emulated

#include "warp_plan.h"

#include <cmath>
#include <unordered_map>
#include <utility>

#define KIPAX_INLINE static inline
#define KIPAX_INLINE_MEMBER inline
#define KIPAX_UNROLL
#define KIPAX_PAIRS_OF_ROWS

// ---- lanes.h on a CPU -----------------------------------------------------------------------------

namespace kipax {
namespace KIPAX_ISA {

typedef float real __attribute__((vector_size(128)));
typedef int lane_int __attribute__((vector_size(128)));
typedef lane_int mask;

KIPAX_INLINE lane_int Lane() {
  lane_int r;
  for (int i = 0; i < 32; ++i) r[i] = i;
  return r;
}
KIPAX_INLINE mask Uniform(bool a) { return mask{} - int(a); }
KIPAX_INLINE int Count(unsigned bits) { return __builtin_popcount(bits); }
KIPAX_INLINE real Abs(real a) { return (real)((lane_int)a & 0x7fffffff); }
KIPAX_INLINE real Min(real a, real b) { return a < b ? a : b; }
KIPAX_INLINE real Max(real a, real b) { return a > b ? a : b; }
KIPAX_INLINE real Sqrt(real a) {
  real r;
  for (int i = 0; i < 32; ++i) r[i] = std::sqrt(a[i]);
  return r;
}
KIPAX_INLINE real Reciprocal(real a) { return 1.0f / a; }
KIPAX_INLINE real FromBefore(real a) {
  real r = a;
  for (int i = 1; i < 32; ++i) r[i] = a[i - 1];
  return r;
}
KIPAX_INLINE real FromAfter(real a) {
  real r = a;
  for (int i = 0; i < 31; ++i) r[i] = a[i + 1];
  return r;
}
KIPAX_INLINE float WarpSum(real a) {
  for (int step = 16; step; step /= 2) {
    real other;
    for (int i = 0; i < 32; ++i) other[i] = a[i ^ step];
    a += other;
  }
  return a[0];
}
// Notices what warps that run at once may not do: write where another reads or writes before the
// next Sync. Not what the lanes of one warp do to each other.
struct Watch {
  bool on = false;
  int warp = -1, races = 0;
  std::unordered_map<const float*, std::pair<int, bool>> touched;  // by which warp, whether written

  void Touch(const float* p, bool write) {
    if (!on) return;
    const auto at = touched.try_emplace(p, warp, write).first;
    races += at->second.first != warp && (write || at->second.second);
    at->second.second = at->second.second || write;
  }
};
static Watch watch;

template <typename T>
struct Pointer {
  T* base;
  lane_int lanes;
  void operator+=(int n) { base += n; }
  operator Pointer<const T>() const { return {base, lanes}; }
};
typedef Pointer<const float> Source;
typedef Pointer<float> Place;

KIPAX_INLINE Source At(const float* p, lane_int lanes) { return {p, lanes}; }
KIPAX_INLINE Place At(float* p, lane_int lanes) { return {p, lanes}; }
KIPAX_INLINE real Get(Source p, int at, mask m) {
  real r{};
  for (int i = 0; i < 32; ++i)
    if (m[i]) watch.Touch(p.base + p.lanes[i] + at, false), r[i] = p.base[p.lanes[i] + at];
  return r;
}
KIPAX_INLINE void Put(Place p, int at, real v, mask m) {
  for (int i = 0; i < 32; ++i)
    if (m[i]) watch.Touch(p.base + p.lanes[i] + at, true), p.base[p.lanes[i] + at] = v[i];
}
// On a GPU all lanes read before any writes, as here: two lanes at one address lose a summand.
KIPAX_INLINE void Add(Place p, int at, real v, mask m) { Put(p, at, Get(p, at, m) + v, m); }
KIPAX_INLINE void Pin(lane_int&) {}

struct Block {  // its warps take turns between two Syncs
  int count;
  int warps() const { return count; }
  void Sync() const { watch.touched.clear(); }
  void SyncWarp() const {}
  template <typename F>
  void EachWarp(F&& f) const {
    for (watch.warp = 0; watch.warp < count; ++watch.warp) f(watch.warp);
    watch.warp = -1;
  }
  void Zero(float* p, int n) const {
    for (int i = 0; i < n; ++i) watch.Touch(p + i, true), p[i] = 0.0f;
  }
};

}  // namespace KIPAX_ISA
}  // namespace kipax

#include "dual.h"

// ---- the plan as variables ------------------------------------------------------------------------

namespace kipax {
namespace emulated {

constexpr int kMaxLevels = 4, kMaxStages = kMostStages, kMaxDelay = 2 * kMostConvs - 2;

struct Plan {
  static inline int ntk, channels, pixels, levels, warps, tables, sums;
  static inline float box, bias, mean;
};

template <int L>
struct Level {
  static inline int h, w, ry, rx, stages, conv, relu, convs, relus, scales, table, table_size,
      segment, groups, sums;
};

template <int L = 0>
static void SetLevels(const WarpPlan& p) {
  const WarpLevel& from = p.level[std::min<size_t>(L, p.level.size() - 1)];
  typedef Level<L> To;
  To::h = from.h, To::w = from.w, To::ry = from.ry, To::rx = from.rx, To::stages = from.stages;
  To::conv = from.conv, To::relu = from.relu, To::convs = from.convs, To::relus = from.relus;
  To::scales = from.scales, To::table = from.table, To::table_size = from.table_size;
  To::segment = from.segment, To::groups = from.groups, To::sums = from.sums;
  if constexpr (L + 1 < kMaxLevels) SetLevels<L + 1>(p);
}

}  // namespace emulated
}  // namespace kipax

#include "warps.h"

namespace kipax {
namespace emulated {

extern "C" {

// Prepares a program for the two calls below; returns why it is not served, or null.
const char* kipax_set_plan(const int64_t* code, int64_t n, float weight_variance,
                           float bias_variance, int64_t* num_scales) {
  Program p;
  if (!ParseProgram(code, n, weight_variance, bias_variance, &p)) return "malformed";
  WarpPlan plan;
  if (const char* reason = MakeWarpPlan(p, &plan)) return reason;
  if (plan.levels > kMaxLevels) return "compiled for at most 3 pools";
  Plan::ntk = plan.ntk, Plan::channels = plan.channels, Plan::pixels = plan.pixels;
  Plan::levels = plan.levels, Plan::warps = plan.warps, Plan::tables = plan.tables;
  Plan::sums = plan.sums, Plan::box = plan.box, Plan::bias = plan.bias, Plan::mean = plan.mean;
  SetLevels(plan);
  *num_scales = p.num_scales;
  return nullptr;
}

// Counts races from now on, and returns those so far.
int kipax_watch(int on) {
  watch.on = on;
  return watch.races;
}

void kipax_forward(const float* x1, const float* s1, int64_t n1, const float* x2, const float* s2,
                   int64_t n2, const uint8_t* same, int64_t num_scales, float* k, float* t) {
  const Block block{Plan::warps};
  std::vector<float> tables(Plan::tables + 1), partial(2 * Plan::warps);
  for (int64_t at = 0; at < n1 * n2; ++at) {
    const int64_t i = at / n2, j = at % n2;
    const Pair pair = {x1 + i * Plan::pixels, s1 + i * num_scales, x2 + j * Plan::pixels,
                       s2 + j * num_scales, same[at] != 0};
    RunPair(block, pair, tables.data(), partial.data(), k + at, t + at);
  }
}

void kipax_backward(const float* x1, const float* s1, int64_t n1, const float* x2, const float* s2,
                    int64_t n2, const uint8_t* same, int64_t num_scales, const float* gk,
                    const float* gt, float* dx, float* ds) {
  const Block block{Plan::warps};
  std::vector<float> tables(Plan::tables + 1), partial(2 * Plan::warps);
  for (int64_t j = 0; j < n2; ++j) {
    std::vector<float> sums(size_t(Plan::warps) * Plan::sums);
    for (int64_t i = 0; i < n1; ++i) {
      const int64_t at = i * n2 + j;
      const Pair pair = {x1 + i * Plan::pixels, s1 + i * num_scales, x2 + j * Plan::pixels,
                         s2 + j * num_scales, same[at] != 0};
      PullPair(block, pair, tables.data(), partial.data(), sums.data(), gk[at], gt[at]);
    }
    for (int e = 0; e < Plan::pixels + num_scales; ++e) {
      const float total = Total(sums.data(), Plan::warps, e);
      e < Plan::pixels ? dx[j * Plan::pixels + e] = total
                       : ds[j * num_scales + e - Plan::pixels] = total;
    }
  }
}

}  // extern "C"

}  // namespace emulated
}  // namespace kipax
