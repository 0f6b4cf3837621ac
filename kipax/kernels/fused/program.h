// What the kernels need to know of an architecture on images of one size; no vectors here.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace kipax {

enum Layer : int { kConv = 0, kRelu = 1 };

struct Rect {  // positions of the first image whose partner lies in the second
  int y0, y1, x0, x1;
  int h() const { return y1 - y0; }
  int w() const { return x1 - x0; }
  int size() const { return h() > 0 && w() > 0 ? h() * w() : 0; }
};

inline Rect MakeRect(int h, int w, int dy, int dx) {
  return {std::max(0, dy), std::min(h, h + dy), std::max(0, dx), std::min(w, w + dx)};
}

struct Level {
  int h, w;
  int ry, rx;              // largest displacement of a pair of images
  bool has_self;           // whether later ReLUs use an image's own variances
  int self_ry, self_rx;    // the same of an image with itself
  std::vector<int> layers; // kConv, kRelu
  int relus;
  int scales;              // where this level's scales begin; relus x h x w of them
};

struct Program {
  bool ntk, global;  // global: the readout averages over all pairs of positions
  bool head_variance;  // whether the head needs the images' variances after the readout
  int channels, num_scales;
  float weight_variance, bias_variance;
  std::vector<Level> levels;
};

// The encoding that kipax/kernels/fused/__init__.py writes; returns false if it is malformed.
inline bool ParseProgram(const int64_t* code, size_t n, float weight_variance, float bias_variance,
                         Program* out) {
  size_t at = 0;
  auto next = [&]() -> int64_t { return at < n ? code[at++] : (at = n + 1, 0); };
  out->ntk = next(), out->global = next(), out->head_variance = next(), out->channels = next();
  out->weight_variance = weight_variance, out->bias_variance = bias_variance;
  const int64_t count = next();
  int scales = 0;
  for (int64_t i = 0; i < count && at <= n; ++i) {
    Level level;
    level.h = next(), level.w = next(), level.ry = next(), level.rx = next();
    level.self_ry = next(), level.self_rx = next();
    level.has_self = level.self_ry >= 0;
    level.relus = 0;
    level.scales = scales;
    const int64_t layers = next();
    for (int64_t j = 0; j < layers && at <= n; ++j) {
      level.layers.push_back(next());
      level.relus += level.layers.back() == kRelu;
    }
    scales += level.relus * level.h * level.w;
    out->levels.push_back(level);
  }
  out->num_scales = scales;
  return at == n && count > 0;
}

}  // namespace kipax
