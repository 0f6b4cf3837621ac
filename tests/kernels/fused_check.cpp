// The fused kernel without Python: threads and kept tables agree bit for bit, pullbacks with finite differences.
//
// For sanitizers and for processors that no test machine has. One vector width a build:
//   g++ -std=c++17 -O1 -g -fsanitize=thread -I kipax/kernels/fused tests/kernels/fused_check.cpp \
//       kipax/kernels/fused/base.cpp -pthread -o /tmp/check && /tmp/check
//   aarch64-linux-gnu-g++ -std=c++17 -O2 -static -I kipax/kernels/fused ... && qemu-aarch64 /tmp/check
// With -DKIPAX_WIDTH=kAvx512 and avx512.cpp, -march=x86-64-v4 in place of base.cpp, the widest.

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "backend.h"

#ifndef KIPAX_WIDTH
#define KIPAX_WIDTH kBase
#endif

namespace {

using kipax::KIPAX_WIDTH;

std::vector<float> Noise(size_t n, unsigned seed) {
  std::vector<float> v(n);
  for (float& x : v) {
    seed = seed * 1664525u + 1013904223u;
    x = float(seed >> 8) / (1 << 23) - 1.0f;
  }
  return v;
}

// ConvNet2 on 9 x 8 pixels: what kipax/kernels/fused/__init__.py encodes.
kipax::Program MakeProgram() {
  const int64_t code[] = {1, 0, 0, 3, 3, 9, 8, 3, 3, 1, 1, 2, 0, 1, 4, 4,
                          1, 1, 0, 0, 2, 0, 1, 2, 2, 0, 0, -1, -1, 0};
  kipax::Program p;
  if (!kipax::ParseProgram(code, sizeof(code) / sizeof(*code), 2.0f, 0.01f, &p)) std::abort();
  return p;
}

struct Result {
  std::vector<float> k, t, dx, ds;
};

// keep: the share of the groups of pairs whose tables are kept for the pullback. symmetric: whether
// the two sides, which are then the same, are taken as one set.
Result Run(const kipax::Program& p, const std::vector<float>& x1, const std::vector<float>& x2,
           int threads, double keep, bool symmetric = false) {
  const int64_t pixels = 9 * 8 * 3, n1 = x1.size() / pixels, n2 = x2.size() / pixels;
  std::vector<float> s1(n1 * p.num_scales), s2(n2 * p.num_scales), h1(n1), h2(n2);
  KIPAX_WIDTH.own_scales(p, x1.data(), n1, threads, s1.data(), h1.data());
  KIPAX_WIDTH.own_scales(p, x2.data(), n2, threads, s2.data(), h2.data());
  const std::vector<uint8_t> same(n1 * n2);
  Result r{std::vector<float>(n1 * n2), std::vector<float>(n1 * n2), std::vector<float>(x2.size()),
           std::vector<float>(s2.size())};
  const kipax::Images a{x1.data(), s1.data(), n1}, b{x2.data(), s2.data(), n2};
  const int64_t groups = (n1 + KIPAX_WIDTH.lanes - 1) / KIPAX_WIDTH.lanes * n2;
  const int64_t floats = KIPAX_WIDTH.table_floats(p);
  std::vector<float> room(groups * floats + 16);
  const auto at = (reinterpret_cast<uintptr_t>(room.data()) + 63) & ~uintptr_t{63};
  const kipax::Kept kept{reinterpret_cast<float*>(at), int64_t(keep * groups)};
  KIPAX_WIDTH.forward(p, a, b, same.data(), symmetric, threads, r.k.data(), r.t.data(), kept);
  const std::vector<float> gk(n1 * n2, 0.0f);
  std::vector<float> gt = Noise(n1 * n2, 5);
  if (x1 == x2) {  // the cotangents of both orders together
    for (int64_t i = 0; i < n1; ++i)
      for (int64_t j = 0; j <= i; ++j) gt[i * n1 + j] = gt[j * n1 + i] += gt[i * n1 + j];
  }
  KIPAX_WIDTH.backward(p, a, b, same.data(), symmetric, gk.data(), gt.data(), threads, r.dx.data(),
                       r.ds.data(), kept);
  return r;
}

// The largest difference of two arrays, as a share of the largest number.
double Difference(const std::vector<float>& a, const std::vector<float>& b) {
  double worst = 0, largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    worst = std::fmax(worst, std::fabs(double(a[i]) - b[i]));
    largest = std::fmax(largest, std::fabs(double(a[i])));
  }
  return worst / largest;
}

// Whether a set taken as one has the bits of any number of threads and the values of two sides.
bool SymmetricAgrees(const kipax::Program& p, const std::vector<float>& x) {
  const Result two_sides = Run(p, x, x, 1, 1.0), one = Run(p, x, x, 1, 0.0, true);
  for (int threads : {1, 2, 8}) {
    for (double keep : {0.0, 0.5, 1.0}) {
      const Result many = Run(p, x, x, threads, keep, true);
      if (one.k != many.k || one.dx != many.dx || one.ds != many.ds) return false;
    }
  }
  return Difference(two_sides.k, one.k) < 1e-5 && Difference(two_sides.dx, one.dx) < 1e-4 &&
         Difference(two_sides.ds, one.ds) < 1e-4;
}

}  // namespace

int main() {
  const kipax::Program p = MakeProgram();
  const std::vector<float> x1 = Noise(37 * 216, 1), x2 = Noise(5 * 216, 2);
  const Result one = Run(p, x1, x2, 1, 0.0);
  for (int threads : {1, 2, 8}) {
    for (double keep : {0.0, 0.5, 1.0}) {
      const Result many = Run(p, x1, x2, threads, keep);
      if (one.k != many.k || one.t != many.t || one.dx != many.dx || one.ds != many.ds) {
        std::printf("FAILED: %d threads, %g of the tables kept: other bits\n", threads, keep);
        return 1;
      }
    }
  }
  for (size_t images : {5, 37}) {
    if (!SymmetricAgrees(p, {x1.begin(), x1.begin() + images * 216})) {
      std::printf("FAILED: a set of %zu images with itself\n", images);
      return 1;
    }
  }
  // d sum(gt t) / d s2 by central differences of one scale, pixels fixed.
  const int64_t n1 = 37, n2 = 5;
  std::vector<float> s1(n1 * p.num_scales), s2(n2 * p.num_scales), head(n1);
  KIPAX_WIDTH.own_scales(p, x1.data(), n1, 2, s1.data(), head.data());
  KIPAX_WIDTH.own_scales(p, x2.data(), n2, 2, s2.data(), head.data());
  const std::vector<uint8_t> same(n1 * n2);
  const std::vector<float> gt = Noise(n1 * n2, 5);
  auto total = [&](int64_t at, float step) {
    std::vector<float> moved = s2, k(n1 * n2), t(n1 * n2);
    moved[at] += step;
    KIPAX_WIDTH.forward(p, {x1.data(), s1.data(), n1}, {x2.data(), moved.data(), n2}, same.data(),
                        false, 2, k.data(), t.data(), {nullptr, 0});
    double sum = 0;
    for (size_t i = 0; i < t.size(); ++i) sum += double(gt[i]) * t[i];
    return sum;
  };
  double worst = 0, largest = 0;
  for (float d : one.ds) largest = std::fmax(largest, std::fabs(d));
  for (int64_t at : {3, 40, 72, 80, 91}) {
    const double numeric = (total(at, 1e-2f) - total(at, -1e-2f)) / 2e-2;
    worst = std::fmax(worst, std::fabs(numeric - one.ds[at]) / largest);
  }
  std::printf("%s: t[0] %.7f, pullback against differences %.1e\n", KIPAX_WIDTH.name, one.t[0],
              worst);
  return worst < 2e-2 ? 0 : 1;
}
