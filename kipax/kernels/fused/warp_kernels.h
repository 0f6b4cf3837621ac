// The GPU's entry points, compiled at run time behind a program's Plan: see cuda.py.

namespace kipax {
namespace KIPAX_ISA {

struct Sides {
  const float *x1, *x2, *s1, *s2;
  const unsigned char* same;
  int n1, n2, num_scales;
};

KIPAX_INLINE Pair PairOf(const Sides& a, int i, int j) {
  return {a.x1 + size_t(i) * Plan::pixels, a.s1 + size_t(i) * a.num_scales,
          a.x2 + size_t(j) * Plan::pixels, a.s2 + size_t(j) * a.num_scales,
          a.same[size_t(i) * a.n2 + j] != 0};
}

extern __shared__ float shared[];  // two sums for each warp; the tables, where they fit

KIPAX_INLINE float* TablesOf(float* tables) {
  return tables ? tables + size_t(blockIdx.x) * Plan::tables : shared + 2 * Plan::warps;
}

// A block a pair, then the one gridDim.x further; pairs below a symmetric matrix's diagonal are
// copied. tables: room for each block's, or null for shared memory.
extern "C" __global__ void __launch_bounds__(32 * Plan::warps)
    kipax_forward(Sides sides, bool symmetric, float* tables, float* k, float* t) {
  for (size_t at = blockIdx.x; at < size_t(sides.n1) * sides.n2; at += gridDim.x) {
    const int i = at / sides.n2, j = at % sides.n2;
    if (symmetric && i > j) continue;
    RunPair(Block(), PairOf(sides, i, j), TablesOf(tables), shared, k + at, t + at);
    if (symmetric) {
      const size_t mirrored = size_t(j) * sides.n2 + i;
      k[mirrored] = k[at], t[mirrored] = t[at];
    }
  }
}

// Block (j, part) pulls `height` first images back to second image j, each warp into its own sums,
// which must be zero: the order of every sum is fixed by the numbers of images alone.
extern "C" __global__ void __launch_bounds__(32 * Plan::warps)
    kipax_backward(Sides sides, const float* gk, const float* gt, int parts, int height,
                   float* tables, float* sums) {
  const int j = blockIdx.x / parts, part = blockIdx.x % parts;
  float* own = sums + size_t(blockIdx.x) * Plan::warps * Plan::sums;
  const int end = min(sides.n1, (part + 1) * height);
  for (int i = part * height; i < end; ++i) {
    const size_t at = size_t(i) * sides.n2 + j;
    PullPair(Block(), PairOf(sides, i, j), TablesOf(tables), shared, own, gk[at], gt[at]);
  }
}

extern "C" __global__ void kipax_total(const float* sums, int n2, int parts, int num_scales,
                                       float* dx, float* ds) {
  const int size = Plan::pixels + num_scales, at = blockIdx.x * blockDim.x + threadIdx.x;
  if (at >= n2 * size) return;
  const int j = at / size, e = at % size, warps = parts * Plan::warps;
  const float total = Total(sums + size_t(j) * warps * Plan::sums, warps, e);
  if (e < Plan::pixels) {
    dx[size_t(j) * Plan::pixels + e] = total;
  } else {
    ds[size_t(j) * num_scales + e - Plan::pixels] = total;
  }
}

}  // namespace KIPAX_ISA
}  // namespace kipax
