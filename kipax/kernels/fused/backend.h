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

// Pooled tables of the first groups of image pairs: of KIPAX_LANES first images and one second image
// each, in the order of blocks of first images, then second images (of a symmetric matrix without the
// groups below its diagonal).
struct Kept {
  float* tables;  // (groups, table_floats), on a 64-byte boundary
  int64_t groups;
};

struct Backend {
  const char* name;
  int lanes;  // first images of a group
  // Floats of a group's tables.
  int64_t (*table_floats)(const Program&);
  // Standard deviations before every ReLU (n, num_scales), and head variances (n).
  void (*own_scales)(const Program&, const float* x, int64_t n, int threads, float* scales,
                     float* head);
  // Means over the readout, covariance and companion, (n1, n2) each; same (n1, n2): identical
  // images. symmetric: both sides are one set, half the work.
  void (*forward)(const Program&, Images first, Images second, const uint8_t* same, bool symmetric,
                  int threads, float* k, float* t, Kept kept);
  // Cotangents of the second side's pixels (n2, H, W, C) and scales (n2, num_scales); groups whose
  // tables were not kept are run forward again. symmetric: both sides are one set, of which these are
  // then the whole cotangents; gk and gt hold those of both orders together.
  void (*backward)(const Program&, Images first, Images second, const uint8_t* same, bool symmetric,
                   const float* gk, const float* gt, int threads, float* dx, float* ds, Kept kept);
};

extern const Backend kBase;
#if defined(__x86_64__)
extern const Backend kAvx2, kAvx512;
#endif

}  // namespace kipax
