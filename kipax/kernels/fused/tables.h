// The pooled tables of one group of image pairs: what a level hands to the next.
//
// They are all that a pullback needs of the pass forward, so that they may be kept for it.

#include "slices.h"

namespace kipax {
namespace KIPAX_ISA {

// Slices of every displacement within a radius, rectangles only, one after another.
struct Layout {
  int ry = 0, rx = 0;
  std::vector<size_t> offsets;
  std::vector<Rect> rects;
  size_t size = 0;

  Layout() = default;
  Layout(int h, int w, int ry_, int rx_) : ry(ry_), rx(rx_) {
    for (int dy = -ry; dy <= ry; ++dy) {
      for (int dx = -rx; dx <= rx; ++dx) {
        offsets.push_back(size);
        rects.push_back(MakeRect(h, w, dy, dx));
        size += rects.back().size();
      }
    }
  }
  bool Has(int dy, int dx) const { return std::abs(dy) <= ry && std::abs(dx) <= rx; }
  int At(int dy, int dx) const { return (dy + ry) * (2 * rx + 1) + dx + rx; }
};

static inline int FloorHalf(int d) { return d >= 0 ? d / 2 : -((1 - d) / 2); }

// Where each level's tables lie in one array of vectors: covariances, then their companions.
struct Tables {
  std::vector<Layout> layouts;     // of every level
  std::vector<bool> theta_enters;  // whether a level has a table of companions
  std::vector<size_t> k, t;        // where a level's tables begin; the first level has none
  bool theta_leaves = false;       // whether the last level hands companions on
  size_t size = 0;                 // in vectors

  // self: an image against itself, whose companions nobody asks for.
  Tables(const Program& program, bool self) {
    const bool ntk = program.ntk && !self;
    bool theta = false;
    for (const Level& level : program.levels) {
      const bool first = layouts.empty(), used = !self || level.has_self;
      layouts.push_back(used ? Layout(level.h, level.w, self ? level.self_ry : level.ry,
                                      self ? level.self_rx : level.rx)
                             : Layout());
      theta_enters.push_back(theta && ntk);
      const size_t length = first ? 0 : layouts.back().size;
      k.push_back(size), size += length;
      t.push_back(size), size += theta_enters.back() ? length : 0;
      for (int layer : level.layers) theta |= layer == kConv;
    }
    theta_leaves = theta && ntk;
  }
};

}  // namespace KIPAX_ISA
}  // namespace kipax
