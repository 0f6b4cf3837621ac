// Vectors of image pairs and the ReLU's dual on them: what kipax/kernels/relu.py is in JAX.
//
// Included once for each vector width, in the namespace KIPAX_ISA; KIPAX_LANES is the number of
// floats in a vector register.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#if defined(__AVX__) || defined(__AVX512F__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace kipax {
namespace KIPAX_ISA {

constexpr int kLanes = KIPAX_LANES;
typedef float vec __attribute__((vector_size(4 * KIPAX_LANES)));
typedef int32_t ivec __attribute__((vector_size(4 * KIPAX_LANES)));

static inline vec Splat(float a) { return vec{} + a; }
static inline vec Abs(vec a) { return (vec)((ivec)a & 0x7fffffff); }

static inline vec Sqrt(vec a) {
#if KIPAX_LANES == 16 && defined(__AVX512F__)
  return (vec)_mm512_sqrt_ps((__m512)a);
#elif KIPAX_LANES == 8 && defined(__AVX__)
  return (vec)_mm256_sqrt_ps((__m256)a);
#elif KIPAX_LANES == 4 && defined(__SSE2__)
  return (vec)_mm_sqrt_ps((__m128)a);
#elif KIPAX_LANES == 4 && defined(__aarch64__)
  return (vec)vsqrtq_f32((float32x4_t)a);
#else
  vec r;
  for (int i = 0; i < kLanes; ++i) r[i] = std::sqrt(a[i]);
  return r;
#endif
}

// Vectors on 64-byte boundaries; contents are not initialised.
class Buffer {
 public:
  void Resize(size_t n) {
    if (n <= size_) return;
    size_ = n;
    memory_.reset(new char[n * sizeof(vec) + 64]);
    auto address = reinterpret_cast<uintptr_t>(memory_.get());
    data_ = reinterpret_cast<vec*>((address + 63) & ~uintptr_t{63});
  }
  void Zero(size_t n) { std::memset(static_cast<void*>(data_), 0, n * sizeof(vec)); }
  vec* data() { return data_; }
  vec& operator[](size_t i) { return data_[i]; }

 private:
  size_t size_ = 0;
  std::unique_ptr<char[]> memory_;
  vec* data_ = nullptr;
};

// ---- the ReLU ---------------------------------------------------------------------------------

constexpr float kInvTwoPi = 0.15915494309189535f;
constexpr float kSnap = 8.0f * 1.1920929e-07f;  // see kipax/kernels/relu.py

struct Dual {
  vec k, slope, sine, c, t, root, other, inverse;
};

// kipax.kernels.relu.relu_dual; m = s1 s2, inverse = 1 / m or 0, low = -1, or 1 where both sides
// are known to be identical.
static inline Dual ReluDual(vec n, vec m, vec inverse, vec low) {
  Dual d;
  const vec one = Splat(1.0f), zero = Splat(0.0f);
  vec c = n * inverse;
  c = c < one ? c : one;
  c = c > low ? c : low;
  const vec x = Abs(c);
  vec t = one - x;
  t = t < Splat(kSnap) ? zero : t;
  const vec root = Sqrt(t);
  const vec other = Sqrt(one + x);
  // Abramowitz and Stegun 4.4.46, times 1 / 2 pi.
  vec a = Splat(-0.0012624911f * kInvTwoPi);
  a = a * x + 0.0066700901f * kInvTwoPi;
  a = a * x + -0.0170881256f * kInvTwoPi;
  a = a * x + 0.0308918810f * kInvTwoPi;
  a = a * x + -0.0501743046f * kInvTwoPi;
  a = a * x + 0.0889789874f * kInvTwoPi;
  a = a * x + -0.2145988016f * kInvTwoPi;
  a = a * x + 1.5707963050f * kInvTwoPi;
  const vec angle = root * a;
  vec slope = c >= zero ? Splat(0.5f) - angle : angle;
  slope = m > zero ? slope : zero;
  d.sine = root * other * kInvTwoPi;
  d.slope = slope;
  d.k = m * d.sine + slope * n;
  d.c = c, d.t = t, d.root = root, d.other = other, d.inverse = inverse;
  return d;
}

}  // namespace KIPAX_ISA
}  // namespace kipax
