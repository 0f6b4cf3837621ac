// What each vector width offers, and the arrays that it works on.
#pragma once

#include <cstdint>

#include "program.h"

namespace kipax {

struct Images {  // n images with what their ReLUs divide by
  const float* x;       // (n, H, W, C)
  const float* scales;  // (n, num_scales), standard deviations
  int64_t n;
};

struct Backend {
  const char* name;
  // Standard deviations before every ReLU (n, num_scales), and head variances (n).
  void (*own_scales)(const Program&, const float* x, int64_t n, int threads, float* scales,
                     float* head);
  // Means over the readout, covariance and companion, (n1, n2) each; same (n1, n2): identical
  // images. symmetric: both sides are one set, half the work.
  void (*forward)(const Program&, Images first, Images second, const uint8_t* same, bool symmetric,
                  int threads, float* k, float* t);
  // Cotangents of the second side's pixels (n2, H, W, C) and scales (n2, num_scales).
  void (*backward)(const Program&, Images first, Images second, const uint8_t* same,
                   const float* gk, const float* gt, int threads, float* dx, float* ds);
};

extern const Backend kBase;
#if defined(__x86_64__)
extern const Backend kAvx2, kAvx512;
#endif

}  // namespace kipax
