// The pullback of the recursion of one group of image pairs, to the second side or to both.

#include "recursion.h"

namespace kipax {
namespace KIPAX_ISA {

// Sums that the pullback adds to. Those of the second side are still to be summed over lanes; of the
// first side a lane is an image.
struct Pulled {
  vec* x;      // (H, W, C)
  vec* scale;  // (P)
};
struct BothPulled {
  Pulled second, first;
};

// One thread's workspace.
class Pullback : public Recursion<false> {
 public:
  explicit Pullback(const Program& program) : Recursion(program, false) {
    int relus = 0;
    for (const Level& level : program.levels) relus = std::max(relus, level.relus);
    kept_.resize(2 * relus);
    for (Buffer& b : kept_) b.Resize(slice_size_);
    for (Buffer& b : cotangents_) b.Resize(slice_size_);
    gradients_.Resize(tables_.size);
  }

  // Adds the pullback of cotangents of `Forward`'s results; tables: those that it left, or null,
  // then they are computed again. kBoth: to the first side as well.
  template <bool kBoth>
  void Backward(const Group<false>& g, vec* tables, vec gk, vec gt, BothPulled out) {
    if (!tables && tables_.size) {
      vec unused_k, unused_t;
      Forward(g, nullptr, &unused_k, &unused_t);
    }
    Use(tables);
    for (size_t l = program_.levels.size(); l-- > 0;) PullLevel<kBoth>(g, l, gk, gt, out);
  }

 private:
  template <bool kBoth>
  void PullLevel(const Group<false>& g, size_t l, vec gk, vec gt, BothPulled out) {
    const Level& level = program_.levels[l];
    const bool last = l + 1 == program_.levels.size();
    const bool theta = last ? tables_.theta_leaves : tables_.theta_enters[l + 1];
    const vec low_everywhere = Splat(-1.0f);
    ForEachSlice(l, [&](const Place& place) {
      RunLayers(g, l, place, &passes_);
      const int n = place.rect.size();
      vec* k = cotangents_[0].data();
      vec* t = cotangents_[1].data();
      if (last) {
        std::fill(k, k + n, gk * MeanFactor(level));
        std::fill(t, t + n, gt * MeanFactor(level));
      } else {
        Unpool(l, place, KGradient(l + 1), k);
        if (theta) Unpool(l, place, TGradient(l + 1), t);
      }
      bool has = theta;
      int turn = 0;
      const vec low = place.dy == 0 && place.dx == 0 ? g.low : low_everywhere;
      for (size_t i = passes_.size(); i-- > 0;) {
        const Pass& pass = passes_[i];
        if (pass.relu) PullRelu<kBoth>(g, place, pass, low, k, has ? t : nullptr, out);
        if (pass.conv) {
          turn = 2 - turn;
          vec* k_in = cotangents_[turn].data();
          vec* t_in = cotangents_[turn + 1].data();
          PullConv(place, k, has ? t : nullptr, k_in, pass.theta_entered ? t_in : nullptr);
          k = k_in, t = t_in;
        }
        has = pass.theta_entered;
      }
      Leave<kBoth>(g, l, place, k, has ? t : nullptr, out);
    });
  }

  void Unpool(size_t l, const Place& place, vec* table, vec* slice) {
    const float sixteenth = 1.0f / 16.0f;
    std::fill(slice, slice + place.rect.size(), Splat(0.0f));
    ForEachPooledRow(l, place, [&](int from, int x, int end, int64_t even, int64_t odd) {
      const vec* e = Row(table, even, zeros_);
      const vec* o = Row(table, odd, zeros_);
      vec* to = slice + from;
      if (x & 1) to[x] = o[x / 2] * sixteenth, ++x;
      for (; x + 1 < end; x += 2) {
        to[x] = e[x / 2] * sixteenth;
        to[x + 1] = o[x / 2] * sixteenth;
      }
      if (x < end) to[x] = e[x / 2] * sixteenth;
    });
  }

  // In place: cotangents after the ReLU become those before it.
  template <bool kBoth>
  void PullRelu(const Group<false>& g, const Place& place, const Pass& pass, vec low, vec* gk,
                vec* gt, BothPulled out) {
    const int h = place.rect.h(), w = place.rect.w();
    const vec zero = Splat(0.0f);
    for (int y = 0; y < h; ++y) {
      const size_t a = pass.scales + size_t(place.first + y * place.width);
      const size_t b = pass.scales + size_t(place.second + y * place.width);
      for (int x = 0; x < w; ++x) {
        const int i = y * w + x;
        const vec s1 = g.first.scale[a + x];
        const vec m = s1 * g.second.scale[b + x];
        const vec inverse = g.first.inverse[a + x] * g.second.inverse[b + x];
        const Dual d = ReluDual(pass.n[i], m, inverse, low);
        const DualPulled<vec> pulled =
            gt ? PullDual<true>(d, gk[i], gt[i], pass.t[i]) : PullDual<false>(d, gk[i], zero, zero);
        if (gt) gt[i] = pulled.t;
        gk[i] = pulled.n;
        out.second.scale[b + x] += pulled.m * s1;
        if constexpr (kBoth) out.first.scale[a + x] += pulled.m * g.second.scale[b + x];
      }
    }
  }

  void PullConv(const Place& place, const vec* gk, const vec* gt, vec* k, vec* t) {
    const int h = place.rect.h(), w = place.rect.w();
    const float box = weights_.box;
    for (int y = 0; y < h; ++y) {
      const int row = y * w;
      if (gt && t) {
        BoxRows<true>(gk, gt, zeros_.data(), y, h, w, [&](int x, vec sum, vec t_sum) {
          k[row + x] = (sum + t_sum) * box;
          t[row + x] = t_sum * box;
        });
      } else if (gt) {
        BoxRows<true>(gk, gt, zeros_.data(), y, h, w,
                      [&](int x, vec sum, vec t_sum) { k[row + x] = (sum + t_sum) * box; });
      } else {
        BoxRow(gk, zeros_.data(), y, h, w, [&](int x, vec sum) { k[row + x] = sum * box; });
      }
    }
  }

  // Cotangents of what entered a level go to the pixels, or to the table that it came from.
  template <bool kBoth>
  void Leave(const Group<false>& g, size_t l, const Place& place, const vec* gk, const vec* gt,
             BothPulled out) {
    const int n = place.rect.size();
    if (l > 0) {
      const size_t at = tables_.layouts[l].offsets[tables_.layouts[l].At(place.dy, place.dx)];
      std::copy(gk, gk + n, KGradient(l) + at);
      if (gt) std::copy(gt, gt + n, TGradient(l) + at);
      return;
    }
    const int c = program_.channels;
    const float share = 1.0f / c;
    for (int y = 0; y < place.rect.h(); ++y) {
      const size_t first = size_t(place.first + y * place.width) * c;
      const size_t second = size_t(place.second + y * place.width) * c;
      const vec* a = g.first.x + first;
      const float* b = g.second.x + second;
      vec* db = out.second.x + second;
      for (int x = 0, i = 0; x < place.rect.w(); ++x) {
        const vec shared = gk[x] * share;
        for (const int end = i + c; i < end; ++i) {
          db[i] += shared * a[i];
          if constexpr (kBoth) out.first.x[first + i] += shared * b[i];
        }
      }
      gk += place.rect.w();
    }
  }

  vec* KGradient(size_t l) { return gradients_.data() + tables_.k[l]; }
  vec* TGradient(size_t l) { return gradients_.data() + tables_.t[l]; }

  Buffer cotangents_[4], gradients_;  // of a slice, of the tables
  std::vector<Pass> passes_;
};

}  // namespace KIPAX_ISA
}  // namespace kipax
