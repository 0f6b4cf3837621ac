// Vectors of image pairs, and the ReLU's dual (dual.h) on them.
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

// One instruction where there is one; written with `? :`, compilers make a comparison and a blend.
static inline vec Min(vec a, vec b) {
#if KIPAX_LANES == 16 && defined(__AVX512F__)
  return (vec)_mm512_min_ps((__m512)a, (__m512)b);
#elif KIPAX_LANES == 8 && defined(__AVX__)
  return (vec)_mm256_min_ps((__m256)a, (__m256)b);
#else
  return a < b ? a : b;
#endif
}

static inline vec Max(vec a, vec b) {
#if KIPAX_LANES == 16 && defined(__AVX512F__)
  return (vec)_mm512_max_ps((__m512)a, (__m512)b);
#elif KIPAX_LANES == 8 && defined(__AVX__)
  return (vec)_mm256_max_ps((__m256)a, (__m256)b);
#else
  return a > b ? a : b;
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

}  // namespace KIPAX_ISA
}  // namespace kipax

// Left to itself a compiler may call these millions of times, and lose a quarter of the speed.
#if defined(__GNUC__)
#define KIPAX_ALWAYS_INLINE __attribute__((always_inline))
#else
#define KIPAX_ALWAYS_INLINE
#endif
#define KIPAX_INLINE static inline KIPAX_ALWAYS_INLINE
#include "dual.h"

namespace kipax {
namespace KIPAX_ISA {
typedef DualOf<vec> Dual;
}  // namespace KIPAX_ISA
}  // namespace kipax
