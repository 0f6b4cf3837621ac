// The displacement-window recursion of one group of image pairs: see kipax/kernels/window.py for
// the idea and recursion.py for the same in JAX.
//
// A group is KIPAX_LANES images of the first side against one image of the second: first-side values
// are vectors, second-side values scalars that are broadcast. (For an image's own variances both
// sides are the same vectors.)

#include "tables.h"

namespace kipax {
namespace KIPAX_ISA {

template <bool kVector>
struct Group {
  Side<true> first;
  Side<kVector> second;
  vec low;  // at displacement zero: 1 where both images are identical, else -1
};

// One thread's workspace. kVector: both sides are vectors (an image against itself).
template <bool kVector>
class Recursion {
 public:
  Recursion(const Program& program, bool self)
      : program_(program), ntk_(program.ntk && !self), tables_(program, self) {
    for (const Level& level : program.levels)
      slice_size_ = std::max(slice_size_, size_t(level.h) * level.w);
    for (Buffer& b : slices_) b.Resize(slice_size_);
    zeros_.Resize(slice_size_);
    zeros_.Zero(slice_size_);
    sink_.Resize(slice_size_);
    sink_.Zero(slice_size_);
    weights_ = {program.weight_variance / 9.0f, program.bias_variance};
  }

  // Means over the readout's positions: covariance and, for an NTK, its companion. The tables go
  // to `tables`, where the caller keeps them, or to this workspace if that is null.
  void Forward(const Group<kVector>& g, vec* tables, vec* k, vec* t) {
    Use(tables);
    for (size_t l = 0; l < program_.levels.size(); ++l) RunLevel(g, l, k, t);
  }

  // The self recursion: standard deviations before every ReLU, (P), written as it goes, with
  // their inverses; g's scales must point there. Returns the variance after the readout.
  vec OwnScales(const Group<kVector>& g, vec* scale, vec* inverse) {
    Use(nullptr);
    vec variance = Splat(0.0f), unused;
    for (size_t l = 0; l < program_.levels.size(); ++l) {
      const Level& level = program_.levels[l];
      if (!level.has_self) break;
      LevelScales(g, l, scale + level.scales, inverse + level.scales);
      const bool last = l + 1 == program_.levels.size();
      if (last ? program_.head_variance : program_.levels[l + 1].has_self)
        RunLevel(g, l, &variance, &unused);
    }
    return variance;
  }

 protected:
  struct State {
    const vec* k;
    const vec* t;  // null: zero
  };
  struct Pass {  // what happened to a slice, for the way back
    bool conv, relu, theta_entered;
    int scales;  // where the ReLU's scales begin
    const vec *n, *t;  // before the ReLU
  };

  void Use(vec* tables) {
    if (!tables) own_tables_.Resize(tables_.size);
    at_ = tables ? tables : own_tables_.data();
  }
  vec* KTable(size_t l) { return at_ + tables_.k[l]; }
  vec* TTable(size_t l) { return at_ + tables_.t[l]; }

  // ---- forward

  void RunLevel(const Group<kVector>& g, size_t l, vec* k_out, vec* t_out) {
    const Level& level = program_.levels[l];
    const bool last = l + 1 == program_.levels.size();
    if (!last) {
      const size_t size = tables_.layouts[l + 1].size;
      std::fill(KTable(l + 1), KTable(l + 1) + size, Splat(0.0f));
      if (tables_.theta_enters[l + 1]) std::fill(TTable(l + 1), TTable(l + 1) + size, Splat(0.0f));
    }
    vec k_sum = Splat(0.0f), t_sum = Splat(0.0f);
    ForEachSlice(l, [&](const Place& place) {
      const State s = RunLayers(g, l, place, nullptr);
      const int n = place.rect.size();
      if (!last) {
        Pool(l, place, s);
      } else {
        for (int i = 0; i < n; ++i) k_sum += s.k[i];
        if (s.t)
          for (int i = 0; i < n; ++i) t_sum += s.t[i];
      }
    });
    if (last) {
      *k_out = k_sum * MeanFactor(level);
      *t_out = t_sum * MeanFactor(level);
    }
  }

  float MeanFactor(const Level& level) const {
    const double positions = double(level.h) * level.w;
    return float(1.0 / (program_.global ? positions * positions : positions));
  }

  template <typename F>
  void ForEachSlice(size_t l, F&& f) {
    const Layout& layout = tables_.layouts[l];
    for (int dy = -layout.ry; dy <= layout.ry; ++dy) {
      for (int dx = -layout.rx; dx <= layout.rx; ++dx) {
        const Place place = MakePlace(program_.levels[l], dy, dx);
        if (place.rect.size()) f(place);
      }
    }
  }

  // The slice that enters a level: products of pixels, or what the pool below has left.
  State Enter(const Group<kVector>& g, size_t l, const Place& place) {
    if (l > 0) {
      const size_t at = tables_.layouts[l].offsets[tables_.layouts[l].At(place.dy, place.dx)];
      return {KTable(l) + at, tables_.theta_enters[l] ? TTable(l) + at : nullptr};
    }
    vec* out = slices_[0].data();
    const int c = program_.channels, w = place.rect.w();
    const float share = 1.0f / c;
    for (int y = 0; y < place.rect.h(); ++y) {
      const auto* a = g.first.x + size_t(place.first + y * place.width) * c;
      const auto* b = g.second.x + size_t(place.second + y * place.width) * c;
      for (int x = 0; x < w; ++x, a += c, b += c) {
        vec sum = a[0] * Load(b[0]);
        for (int i = 1; i < c; ++i) sum += a[i] * Load(b[i]);
        *out++ = sum * share;
      }
    }
    return {slices_[0].data(), nullptr};
  }

  // Takes a slice through a level's layers. With `passes`, keeps what the way back needs: what
  // enters the ReLUs; the last one is left out then, since nobody reads what leaves it.
  State RunLayers(const Group<kVector>& g, size_t l, const Place& place,
                  std::vector<Pass>* passes) {
    const Level& level = program_.levels[l];
    State s = Enter(g, l, place);
    if (passes) passes->clear();
    const vec low = place.dy == 0 && place.dx == 0 ? g.low : Splat(-1.0f);
    int scales = level.scales, turn = 0, kept = 0;
    for (size_t i = 0; i < level.layers.size(); ++i) {
      const bool conv = level.layers[i] == kConv;
      const bool relu = !conv || (i + 1 < level.layers.size() && level.layers[i + 1] == kRelu);
      if (conv && relu) ++i;
      const bool left_out = passes && relu && i + 1 == level.layers.size();
      Pass pass{conv, relu, s.t != nullptr, scales, nullptr, nullptr};
      vec *n_kept = nullptr, *t_kept = nullptr;
      if (passes && relu && !left_out) {
        n_kept = kept_[kept].data();
        t_kept = s.t ? kept_[kept + 1].data() : nullptr;
        kept += 2;
        // After a first convolution the NTK is the covariance itself.
        pass.n = n_kept, pass.t = t_kept ? t_kept : (conv && ntk_ ? n_kept : nullptr);
      }
      if (conv || !left_out) {
        vec* k = slices_[1 + 2 * turn].data();
        vec* t = ntk_ && (conv || s.t) ? slices_[2 + 2 * turn].data() : nullptr;
        turn = 1 - turn;
        const Pass applied{conv, relu && !left_out, pass.theta_entered, scales, nullptr, nullptr};
        Apply(g, place, s, k, t, low, applied, n_kept, t_kept);
        s = {k, t};
      }
      if (left_out) pass.n = s.k, pass.t = s.t;
      if (passes) passes->push_back(pass);
      if (relu) scales += level.h * level.w;
    }
    return s;
  }

  void Apply(const Group<kVector>& g, const Place& place, State s, vec* k, vec* t, vec low,
             const Pass& pass, vec* n_kept, vec* t_kept) {
    auto run = [&](auto conv, auto relu, auto theta, auto ntk, auto keep) {
      ApplyAs<conv, relu, theta, ntk, keep>(g, place, s, k, t, low, pass.scales, n_kept, t_kept);
    };
    auto with_keep = [&](auto conv, auto relu, auto theta, auto ntk) {
      n_kept ? run(conv, relu, theta, ntk, std::true_type()) : run(conv, relu, theta, ntk, std::false_type());
    };
    auto with_theta = [&](auto conv, auto relu) {
      if (!t) with_keep(conv, relu, std::false_type(), std::false_type());
      else if (!s.t) with_keep(conv, relu, std::false_type(), std::true_type());
      else with_keep(conv, relu, std::true_type(), std::true_type());
    };
    if (pass.conv && pass.relu) with_theta(std::true_type(), std::true_type());
    else if (pass.conv) with_theta(std::true_type(), std::false_type());
    else with_theta(std::false_type(), std::true_type());
  }

  // One convolution, ReLU, or both. kTheta: an NTK enters; kNtk: one leaves.
  template <bool kConvolve, bool kRectify, bool kTheta, bool kNtk, bool kKeep>
  void ApplyAs(const Group<kVector>& g, const Place& place, State s, vec* k, vec* t, vec low,
               int scales, vec* n_kept, vec* t_kept) {
    const int h = place.rect.h(), w = place.rect.w();
    const float box = weights_.box, bias = weights_.bias;
    for (int y = 0; y < h; ++y) {
      const int row = y * w;
      const size_t a = scales + size_t(place.first + y * place.width);
      const size_t b = scales + size_t(place.second + y * place.width);
      auto finish = [&](int x, vec n, vec theta) KIPAX_ALWAYS_INLINE {
        if constexpr (kRectify) {
          if constexpr (kKeep) {
            n_kept[row + x] = n;
            if constexpr (kTheta) t_kept[row + x] = theta;
          }
          const vec m = g.first.scale[a + x] * g.second.scale[b + x];
          const vec inverse = g.first.inverse[a + x] * g.second.inverse[b + x];
          const Dual dual = ReluDual(n, m, inverse, low);
          n = dual.k;
          theta = theta * dual.slope;
        }
        k[row + x] = n;
        if constexpr (kNtk) t[row + x] = theta;
      };
      if constexpr (kConvolve) {
        auto with_sums = [&](int x, vec sum, vec t_sum) KIPAX_ALWAYS_INLINE {
          const vec n = sum * box + bias;
          finish(x, n, kTheta ? n + t_sum * box : n);
        };
        BoxRows<kTheta>(s.k, s.t, zeros_.data(), y, h, w, with_sums);
      } else {
        for (int x = 0; x < w; ++x) finish(x, s.k[row + x], kTheta ? s.t[row + x] : Splat(0.0f));
      }
    }
  }

  // Calls f(slice offset of the row, first and last column, even, odd) for each row of a slice
  // that a pool reads: column x of the images goes to table[even + x / 2] or table[odd + x / 2]
  // by its parity, or kNowhere (displacements that nobody needs).
  template <typename F>
  void ForEachPooledRow(size_t l, const Place& place, F&& f) {
    const Level& next = program_.levels[l + 1];
    const Layout& layout = tables_.layouts[l + 1];
    const Rect& r = place.rect;
    // Odd sizes: the last row and column of either image go nowhere.
    const int y_end = std::min(r.y1, 2 * next.h + std::min(0, place.dy));
    const int x_end = std::min(r.x1, 2 * next.w + std::min(0, place.dx));
    for (int y = r.y0; y < y_end; ++y) {
      const int to_y = FloorHalf(place.dy + 1 - (y & 1));
      int64_t base[2];
      for (int odd = 0; odd < 2; ++odd) {
        const int to_x = FloorHalf(place.dx + 1 - odd);
        if (!layout.Has(to_y, to_x)) {
          base[odd] = kNowhere;
          continue;
        }
        const int at = layout.At(to_y, to_x);
        const Rect& into = layout.rects[at];
        base[odd] = int64_t(layout.offsets[at]) + int64_t(y / 2 - into.y0) * into.w() - into.x0;
      }
      f((y - r.y0) * r.w() - r.x0, r.x0, x_end, base[0], base[1]);
    }
  }

  static constexpr int64_t kNowhere = INT64_MIN;

  static vec* Row(vec* table, int64_t base, Buffer& instead) {
    return base == kNowhere ? instead.data() : table + base;
  }

  void Pool(size_t l, const Place& place, State s) {
    const float sixteenth = 1.0f / 16.0f;
    auto add = [&](const vec* slice, vec* table, int x, int end, int64_t even, int64_t odd) {
      vec* e = Row(table, even, sink_);
      vec* o = Row(table, odd, sink_);
      if (x & 1) o[x / 2] += slice[x] * sixteenth, ++x;
      for (; x + 1 < end; x += 2) {
        e[x / 2] += slice[x] * sixteenth;
        o[x / 2] += slice[x + 1] * sixteenth;
      }
      if (x < end) e[x / 2] += slice[x] * sixteenth;
    };
    ForEachPooledRow(l, place, [&](int from, int x, int end, int64_t even, int64_t odd) {
      add(s.k + from, KTable(l + 1), x, end, even, odd);
      if (s.t) add(s.t + from, TTable(l + 1), x, end, even, odd);
    });
  }

  // ---- an image's own variances

  void LevelScales(const Group<kVector>& g, size_t l, vec* scale, vec* inverse) {
    const Level& level = program_.levels[l];
    const int size = level.h * level.w;
    const Place centre = MakePlace(level, 0, 0);
    const vec* from = Enter(g, l, centre).k;
    vec* v = slices_[1].data();
    vec* next = slices_[3].data();
    std::copy(from, from + size, v);
    int done = 0;
    for (int layer : level.layers) {
      if (layer == kConv) {
        for (int y = 0; y < level.h; ++y) {
          BoxRow(v, zeros_.data(), y, level.h, level.w, [&](int x, vec sum) {
            next[y * level.w + x] = sum * weights_.box + weights_.bias;
          });
        }
        std::swap(v, next);
      } else {
        for (int i = 0; i < size; ++i) {
          const vec positive = v[i] > Splat(0.0f) ? v[i] : Splat(0.0f);
          const vec s = Sqrt(positive);
          scale[done + i] = s;
          inverse[done + i] = s > Splat(0.0f) ? Splat(1.0f) / s : Splat(0.0f);
          v[i] = v[i] * 0.5f;
        }
        done += size;
      }
    }
  }

  const Program& program_;
  const bool ntk_;
  const Tables tables_;
  Weights weights_;
  size_t slice_size_ = 0;
  vec* at_ = nullptr;  // where the tables are
  Buffer slices_[5], zeros_, sink_, own_tables_;
  std::vector<Buffer> kept_;  // what enters the ReLUs of a slice
};

}  // namespace KIPAX_ISA
}  // namespace kipax
