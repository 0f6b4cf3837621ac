// Images in, kernel entries out: groups of KIPAX_LANES images against one, over threads.
//
// Which groups are summed together, and in what order, depends on the numbers of images alone, so
// results do not depend on the number of threads.

#include <atomic>
#include <functional>
#include <memory>
#include <thread>

#include "backend.h"
#include "pullback.h"

namespace kipax {
namespace KIPAX_ISA {

constexpr int64_t kUnits = 512;  // about how many pieces of work a call is cut into

// Runs work(unit, workspace) for every unit; `make` makes a thread's workspace.
template <typename Make, typename Work>
void ForEachUnit(int64_t units, int threads, Make&& make, Work&& work) {
  std::atomic<int64_t> next{0};
  auto run = [&] {
    auto workspace = make();
    for (int64_t unit; (unit = next.fetch_add(1)) < units;) work(unit, *workspace);
  };
  std::vector<std::thread> pool;
  for (int64_t i = 1; i < std::min<int64_t>(threads, units); ++i) pool.emplace_back(run);
  run();
  for (std::thread& t : pool) t.join();
}

static inline int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

static inline size_t Pixels(const Program& p) {
  return size_t(p.levels[0].h) * p.levels[0].w * p.channels;
}

// kLanes images as vectors; rows beyond the last repeat it.
struct Block {
  Buffer x, scale, inverse;

  void Pack(const Program& p, Images images, int64_t begin, bool with_scales) {
    const size_t pixels = Pixels(p), scales = p.num_scales;
    x.Resize(pixels), scale.Resize(scales), inverse.Resize(scales);
    for (int lane = 0; lane < kLanes; ++lane) {
      const int64_t i = std::min(begin + lane, images.n - 1);
      const float* from = images.x + i * pixels;
      float* to = reinterpret_cast<float*>(x.data()) + lane;
      for (size_t j = 0; j < pixels; ++j) to[j * kLanes] = from[j];
      if (!with_scales) continue;
      const float* s = images.scales + i * scales;
      to = reinterpret_cast<float*>(scale.data()) + lane;
      for (size_t j = 0; j < scales; ++j) to[j * kLanes] = s[j];
    }
    if (!with_scales) return;
    for (size_t j = 0; j < scales; ++j) {
      const vec s = scale[j];
      inverse[j] = s > Splat(0.0f) ? Splat(1.0f) / s : Splat(0.0f);
    }
  }
  Side<true> side() { return {x.data(), scale.data(), inverse.data()}; }
};

// One image as scalars.
struct Column {
  std::vector<float> inverse;

  Side<false> Take(const Program& p, Images images, int64_t j) {
    const float* s = images.scales + j * p.num_scales;
    inverse.resize(p.num_scales);
    for (int i = 0; i < p.num_scales; ++i) inverse[i] = s[i] > 0 ? 1.0f / s[i] : 0.0f;
    return {images.x + j * Pixels(p), s, inverse.data()};
  }
};

static inline vec Low(const uint8_t* same, int64_t n1, int64_t n2, int64_t begin, int64_t j) {
  vec low;
  for (int lane = 0; lane < kLanes; ++lane) {
    low[lane] = same[std::min(begin + lane, n1 - 1) * n2 + j] ? 1.0f : -1.0f;
  }
  return low;
}

// Floats of a group's tables.
int64_t TableFloats(const Program& p) { return int64_t(Tables(p, false).size) * kLanes; }

// The place of the group of block b of first images and second image j among the groups of a call, in
// the order of blocks, then second images. A symmetric matrix has those that reach its diagonal or lie
// above it.
static inline int64_t GroupOf(bool symmetric, int64_t n2, int64_t b, int64_t j) {
  return b * n2 + j - (symmetric ? kLanes * b * (b + 1) / 2 : 0);
}

// A group's tables, or null where they are not kept.
static inline vec* TablesOf(Kept kept, int64_t group, int64_t floats) {
  return group < kept.groups ? reinterpret_cast<vec*>(kept.tables + group * floats) : nullptr;
}

void OwnScales(const Program& p, const float* x, int64_t n, int threads, float* scales,
               float* head) {
  struct Workspace {
    Recursion<true> recursion;
    Block block;
  };
  auto make = [&] {
    return std::unique_ptr<Workspace>(new Workspace{Recursion<true>(p, true), {}});
  };
  ForEachUnit(CeilDiv(n, kLanes), threads, make, [&](int64_t unit, Workspace& work) {
    const int64_t begin = unit * kLanes;
    work.block.Pack(p, {x, nullptr, n}, begin, false);
    const Side<true> side = work.block.side();
    const vec variance = work.recursion.OwnScales({side, side, Splat(1.0f)}, work.block.scale.data(),
                                                  work.block.inverse.data());
    for (int lane = 0; lane < kLanes && begin + lane < n; ++lane) {
      float* out = scales + (begin + lane) * p.num_scales;
      for (int i = 0; i < p.num_scales; ++i) out[i] = work.block.scale[i][lane];
      head[begin + lane] = variance[lane];
    }
  });
}

void Forward(const Program& p, Images first, Images second, const uint8_t* same, bool symmetric,
             int threads, float* k, float* t, Kept kept) {
  struct Workspace {
    Recursion<false> recursion;
    Block block;
    Column column;
  };
  const int64_t n1 = first.n, n2 = second.n, blocks = CeilDiv(n1, kLanes);
  const int64_t width = std::max<int64_t>(1, blocks * n2 / kUnits);
  const int64_t parts = CeilDiv(n2, width), floats = TableFloats(p);
  auto make = [&] {
    return std::unique_ptr<Workspace>(new Workspace{Recursion<false>(p, false), {}, {}});
  };
  ForEachUnit(blocks * parts, threads, make, [&](int64_t unit, Workspace& work) {
    const int64_t begin = unit / parts * kLanes, part = unit % parts;
    const int64_t end = std::min(n2, (part + 1) * width);
    if (symmetric && begin >= end) return;
    work.block.Pack(p, first, begin, true);
    for (int64_t j = part * width; j < end; ++j) {
      if (symmetric && begin > j) continue;
      vec k_mean = Splat(0.0f), t_mean = Splat(0.0f);
      work.recursion.Forward({work.block.side(), work.column.Take(p, second, j),
                              Low(same, n1, n2, begin, j)},
                             TablesOf(kept, GroupOf(symmetric, n2, unit / parts, j), floats),
                             &k_mean, &t_mean);
      for (int lane = 0; lane < kLanes && begin + lane < n1; ++lane) {
        const int64_t i = begin + lane;
        if (symmetric && i > j) break;
        k[i * n2 + j] = k_mean[lane], t[i * n2 + j] = t_mean[lane];
        if (symmetric) k[j * n2 + i] = k_mean[lane], t[j * n2 + i] = t_mean[lane];
      }
    }
  });
}

struct PullWorkspace {
  explicit PullWorkspace(const Program& p) : pullback(p) {
    for (Buffer* b : {&x, &first_x}) b->Resize(Pixels(p));
    for (Buffer* b : {&scale, &first_scale}) b->Resize(p.num_scales + 1);
  }
  BothPulled out() { return {{x.data(), scale.data()}, {first_x.data(), first_scale.data()}}; }

  Pullback pullback;
  Block block;
  Column column;
  Buffer x, scale, first_x, first_scale;  // sums of the second side, and of the first
};

// Writes sums of the second side, over lanes.
static inline void SumLanes(const Program& p, PullWorkspace& work, float* out) {
  auto sum = [](vec v) {
    float total = 0;
    for (int lane = 0; lane < kLanes; ++lane) total += v[lane];
    return total;
  };
  const size_t pixels = Pixels(p);
  for (size_t i = 0; i < pixels; ++i) out[i] = sum(work.x[i]);
  for (int i = 0; i < p.num_scales; ++i) out[pixels + i] = sum(work.scale[i]);
}

// Some columns of a symmetric matrix against a block of its rows, and the sums of their pullbacks.
struct Columns {
  int64_t block, from, to;  // second images
};
struct Sums {
  size_t values;                  // of an image: pixels, scales
  std::vector<float> of_second;   // (groups, values)
  std::vector<float> of_first;    // (units, kLanes, values)
};

// Pulls each pair of a unit back once, to both images.
static void PullColumns(const Program& p, Images images, const uint8_t* same, const float* gk,
                        const float* gt, Kept kept, Columns unit, int64_t number,
                        PullWorkspace& work, Sums& sums) {
  const int64_t n = images.n, begin = unit.block * kLanes, floats = TableFloats(p);
  const size_t pixels = Pixels(p);
  work.block.Pack(p, images, begin, true);
  work.first_x.Zero(pixels), work.first_scale.Zero(p.num_scales);
  for (int64_t j = unit.from; j < unit.to; ++j) {
    work.x.Zero(pixels), work.scale.Zero(p.num_scales);
    vec k = Splat(0.0f), t = Splat(0.0f);
    for (int lane = 0; lane < kLanes && begin + lane <= j; ++lane) {
      const int64_t i = begin + lane;
      const float part = i == j ? 0.5f : 1.0f;
      k[lane] = part * gk[i * n + j], t[lane] = part * gt[i * n + j];
    }
    const int64_t group = GroupOf(true, n, unit.block, j);
    work.pullback.Backward<true>(
        {work.block.side(), work.column.Take(p, images, j), Low(same, n, n, begin, j)},
        TablesOf(kept, group, floats), k, t, work.out());
    SumLanes(p, work, sums.of_second.data() + size_t(group) * sums.values);
  }
  float* out = sums.of_first.data() + size_t(number) * kLanes * sums.values;
  for (int lane = 0; lane < kLanes; ++lane, out += sums.values) {
    for (size_t i = 0; i < pixels; ++i) out[i] = work.first_x[i][lane];
    for (int i = 0; i < p.num_scales; ++i) out[pixels + i] = work.first_scale[i][lane];
  }
}

// The pullback of a symmetric matrix of more than one block: of each pair once, to both images. gk
// and gt hold the cotangents of both orders together, so that the diagonal's count twice.
void BackwardOnce(const Program& p, Images images, const uint8_t* same, const float* gk,
                  const float* gt, int threads, float* dx, float* ds, Kept kept) {
  const int64_t n = images.n, blocks = CeilDiv(n, kLanes);
  const int64_t groups = GroupOf(true, n, blocks - 1, n - 1) + 1;
  const int64_t width = CeilDiv(groups, kUnits / 4);  // a unit keeps the sums of a whole block
  std::vector<Columns> units;
  for (int64_t b = 0; b < blocks; ++b) {
    for (int64_t from = b * kLanes; from < n; from += width)
      units.push_back({b, from, std::min(n, from + width)});
  }
  const size_t pixels = Pixels(p), values = pixels + p.num_scales;
  Sums sums{values, std::vector<float>(size_t(groups) * values),
            std::vector<float>(units.size() * kLanes * values)};
  auto make = [&] { return std::make_unique<PullWorkspace>(p); };
  ForEachUnit(units.size(), threads, make, [&](int64_t number, PullWorkspace& work) {
    PullColumns(p, images, same, gk, gt, kept, units[number], number, work, sums);
  });
  for (int64_t image = 0; image < n; ++image) {
    const int64_t block = image / kLanes;
    std::vector<double> total(values);
    auto add = [&](const float* from) {
      for (size_t i = 0; i < values; ++i) total[i] += from[i];
    };
    for (int64_t b = 0; b <= block; ++b)
      add(sums.of_second.data() + size_t(GroupOf(true, n, b, image)) * values);
    for (size_t unit = 0; unit < units.size(); ++unit) {
      if (units[unit].block == block)
        add(sums.of_first.data() + (unit * kLanes + image % kLanes) * values);
    }
    std::copy(total.begin(), total.begin() + pixels, dx + image * pixels);
    std::copy(total.begin() + pixels, total.end(), ds + image * p.num_scales);
  }
}

void Backward(const Program& p, Images first, Images second, const uint8_t* same, bool symmetric,
              const float* gk, const float* gt, int threads, float* dx, float* ds, Kept kept) {
  if (symmetric && first.n > kLanes)
    return BackwardOnce(p, first, same, gk, gt, threads, dx, ds, kept);
  const int64_t n1 = first.n, n2 = second.n, blocks = CeilDiv(n1, kLanes);
  const int64_t height = std::max<int64_t>(1, blocks * n2 / kUnits);  // blocks in a unit
  const int64_t parts = CeilDiv(blocks, height), floats = TableFloats(p);
  const size_t pixels = Pixels(p), scales = p.num_scales;
  std::vector<float> partial(size_t(n2 * parts) * (pixels + scales));
  auto make = [&] { return std::make_unique<PullWorkspace>(p); };
  ForEachUnit(n2 * parts, threads, make, [&](int64_t unit, PullWorkspace& work) {
    const int64_t j = unit / parts, part = unit % parts;
    const Side<false> side = work.column.Take(p, second, j);
    work.x.Zero(pixels), work.scale.Zero(scales);
    for (int64_t b = part * height; b < std::min(blocks, (part + 1) * height); ++b) {
      const int64_t begin = b * kLanes;
      work.block.Pack(p, first, begin, true);
      const Group<false> group{work.block.side(), side, Low(same, n1, n2, begin, j)};
      vec k = Splat(0.0f), t = Splat(0.0f);
      for (int lane = 0; lane < kLanes && begin + lane < n1; ++lane) {
        k[lane] = gk[(begin + lane) * n2 + j], t[lane] = gt[(begin + lane) * n2 + j];
      }
      work.pullback.Backward<false>(group, TablesOf(kept, b * n2 + j, floats), k, t, work.out());
    }
    SumLanes(p, work, partial.data() + size_t(unit) * (pixels + scales));
  });
  for (int64_t j = 0; j < n2; ++j) {
    std::vector<double> total(pixels + scales);
    for (int64_t part = 0; part < parts; ++part) {
      const float* from = partial.data() + size_t(j * parts + part) * (pixels + scales);
      for (size_t i = 0; i < pixels + scales; ++i) total[i] += from[i];
    }
    std::copy(total.begin(), total.begin() + pixels, dx + j * pixels);
    std::copy(total.begin() + pixels, total.end(), ds + j * scales);
  }
}

static constexpr Backend MakeBackend(const char* name) {
  return {name, kLanes, TableFloats, OwnScales, Forward, Backward};
}

}  // namespace KIPAX_ISA
}  // namespace kipax
