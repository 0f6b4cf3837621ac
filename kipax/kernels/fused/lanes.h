// The 32 lanes of a GPU's warp, and a block of warps: all that warps.h knows of CUDA.
//
// `real` is a float a lane, `lane_int` an integer a lane, `mask` a truth a lane; everything else is
// the same in all lanes of a warp. tests/kernels/warps_emulated.cpp has the same names on a CPU.

#define KIPAX_INLINE __device__ __forceinline__
#define KIPAX_INLINE_MEMBER __device__ __forceinline__
#define KIPAX_UNROLL _Pragma("unroll")
#define KIPAX_PAIRS_OF_ROWS _Pragma("unroll 2")  // rows of sums need not change registers

namespace kipax {
namespace KIPAX_ISA {

typedef float real;
typedef int lane_int;
typedef bool mask;

KIPAX_INLINE lane_int Lane() { return threadIdx.x & 31; }
KIPAX_INLINE mask Uniform(bool a) { return a; }
KIPAX_INLINE int Count(unsigned bits) { return __popc(bits); }
KIPAX_INLINE real Abs(real a) { return fabsf(a); }
KIPAX_INLINE real Min(real a, real b) { return a < b ? a : b; }
KIPAX_INLINE real Max(real a, real b) { return a > b ? a : b; }
KIPAX_INLINE real Sqrt(real a) {  // to one unit of rounding, denormals flushed
  real r;
  asm("sqrt.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(a));
  return r;
}
KIPAX_INLINE real Reciprocal(real a) {
  real r;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(a));
  return r;
}
// The value of the lane before or after; the outermost ones get another lane's. All lanes must
// call them: never inside `? :` on a mask, which the emulation would not notice.
KIPAX_INLINE real FromBefore(real a) { return __shfl_up_sync(0xffffffffu, a, 1); }
KIPAX_INLINE real FromAfter(real a) { return __shfl_down_sync(0xffffffffu, a, 1); }
KIPAX_INLINE float WarpSum(real a) {
  KIPAX_UNROLL
  for (int step = 16; step; step /= 2) a += __shfl_xor_sync(0xffffffffu, a, step);
  return a;
}
// Memory: a place a lane, which moves with the rows; `at` is the same in all lanes.
typedef const float* Source;
typedef float* Place;

KIPAX_INLINE Source At(const float* p, lane_int lanes) { return p + lanes; }
KIPAX_INLINE Place At(float* p, lane_int lanes) { return p + lanes; }
KIPAX_INLINE real Get(Source p, int at, mask m) { return m ? p[at] : 0.0f; }
KIPAX_INLINE void Put(Place p, int at, real v, mask m) {
  if (m) p[at] = v;
}
KIPAX_INLINE void Add(Place p, int at, real v, mask m) {
  if (m) p[at] += v;
}
// Keeps the compiler from computing a slice's constants anew in every row.
KIPAX_INLINE void Pin(lane_int& a) { asm volatile("" : "+r"(a)); }

struct Block {
  KIPAX_INLINE_MEMBER int warps() const { return blockDim.x / 32; }
  KIPAX_INLINE_MEMBER void Sync() const { __syncthreads(); }
  KIPAX_INLINE_MEMBER void SyncWarp() const { __syncwarp(); }
  template <typename F>
  KIPAX_INLINE_MEMBER void EachWarp(F&& f) const {
    f(int(threadIdx.x / 32));
  }
  KIPAX_INLINE_MEMBER void Zero(float* p, int n) const {
    for (int i = threadIdx.x; i < n; i += blockDim.x) p[i] = 0.0f;
  }
};

}  // namespace KIPAX_ISA
}  // namespace kipax
