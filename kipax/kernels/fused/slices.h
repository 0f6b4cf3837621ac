// Slices: the positions of two images at one displacement, their box filters, their places.
//
// A slice is the rectangle of positions p whose partner p - d lies in the image; everything outside
// counts as zero, so that nothing need be masked.

#include <type_traits>

#include "program.h"
#include "vectors.h"

namespace kipax {
namespace KIPAX_ISA {

// ---- one side's data -----------------------------------------------------------------------------

// Values of KIPAX_LANES images (kVector) or of one image, with 1 / s beside each scale s.
template <bool kVector>
struct Side {
  using value = std::conditional_t<kVector, vec, float>;
  const value* x;        // (H, W, C)
  const value* scale;    // (P)
  const value* inverse;  // (P)
};

template <typename T>
static inline vec Load(const T& a) {
  if constexpr (std::is_same_v<T, vec>) {
    return a;
  } else {
    return Splat(a);
  }
}

// ---- slices ----------------------------------------------------------------------------------------

struct Place {  // a slice of a level: its rectangle, and where its positions lie on either side
  Rect rect;
  int width;         // of the level's images
  int first, second; // index of the rectangle's corner on either side, from the level's start
  int dy, dx;
};

static inline Place MakePlace(const Level& level, int dy, int dx) {
  Place p;
  p.rect = MakeRect(level.h, level.w, dy, dx);
  p.width = level.w;
  p.first = p.rect.y0 * level.w + p.rect.x0;
  p.second = (p.rect.y0 - dy) * level.w + p.rect.x0 - dx;
  p.dy = dy, p.dx = dx;
  return p;
}

// Calls f(i, sum) for each position of row y, sum being that of its 3 x 3 neighbours in a slice.
template <typename F>
KIPAX_INLINE void BoxRow(const vec* a, const vec* zeros, int y, int h, int w, F&& f) {
  const vec* a0 = y > 0 ? a + (y - 1) * w : zeros;
  const vec* a1 = a + y * w;
  const vec* a2 = y + 1 < h ? a + (y + 1) * w : zeros;
  vec before = Splat(0.0f), here = a0[0] + a1[0] + a2[0];
  for (int x = 0; x + 1 < w; ++x) {
    const vec after = a0[x + 1] + a1[x + 1] + a2[x + 1];
    f(x, before + here + after);
    before = here;
    here = after;
  }
  f(w - 1, before + here);
}

// Likewise for two slices at once; b may be null, then its sums are zero.
template <bool kTwo, typename F>
KIPAX_INLINE void BoxRows(const vec* a, const vec* b, const vec* zeros, int y, int h, int w, F&& f) {
  if constexpr (!kTwo) {
    BoxRow(a, zeros, y, h, w,
           [&](int x, vec sum) KIPAX_ALWAYS_INLINE { f(x, sum, Splat(0.0f)); });
  } else {
    const vec *a0 = y > 0 ? a + (y - 1) * w : zeros, *b0 = y > 0 ? b + (y - 1) * w : zeros;
    const vec *a1 = a + y * w, *b1 = b + y * w;
    const vec *a2 = y + 1 < h ? a + (y + 1) * w : zeros, *b2 = y + 1 < h ? b + (y + 1) * w : zeros;
    vec before = Splat(0.0f), here = a0[0] + a1[0] + a2[0];
    vec before_b = Splat(0.0f), here_b = b0[0] + b1[0] + b2[0];
    for (int x = 0; x + 1 < w; ++x) {
      const vec after = a0[x + 1] + a1[x + 1] + a2[x + 1];
      const vec after_b = b0[x + 1] + b1[x + 1] + b2[x + 1];
      f(x, before + here + after, before_b + here_b + after_b);
      before = here, here = after;
      before_b = here_b, here_b = after_b;
    }
    f(w - 1, before + here, before_b + here_b);
  }
}

struct Weights {
  float box, bias;  // weight variance / 9, bias variance
};

}  // namespace KIPAX_ISA
}  // namespace kipax
