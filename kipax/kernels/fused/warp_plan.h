// What warps.h needs to know of an architecture: derived here once, for a GPU and its emulation.
#pragma once

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "program.h"

namespace kipax {

constexpr int kMostLevels = 6, kMostStages = 8, kMostConvs = 8, kMostWarps = 8;

struct WarpLevel {
  int h, w, ry, rx;
  int stages, conv, relu, convs, relus;  // conv, relu: bit i says whether stage i has one
  int scales;                            // where its scales begin
  int table, table_size;                 // where its slices lie in the tables
  int segment, groups;                   // lanes of a slice, slices of a warp
  int sums;                              // where its scales' cotangents lie in a warp's sums
};

struct WarpPlan {
  int ntk, channels, pixels, levels, warps;
  int tables, sums;  // floats of a block's tables, of a warp's sums
  float box, bias, mean;
  std::vector<WarpLevel> level;
};

// Returns why such a program is not served, or null.
inline const char* MakeWarpPlan(const Program& p, WarpPlan* out) {
  if (p.levels[0].w > 32) return "images are wider than 32 pixels";
  if (p.levels.size() > size_t(kMostLevels)) return "there are more than 5 pools";
  out->ntk = p.ntk, out->channels = p.channels, out->levels = p.levels.size();
  out->pixels = p.levels[0].h * p.levels[0].w * p.channels;
  out->box = p.weight_variance / 9.0f, out->bias = p.bias_variance;
  out->tables = 0, out->warps = 1;
  for (const Level& from : p.levels) {
    WarpLevel to = {};
    to.h = from.h, to.w = from.w, to.scales = from.scales, to.relus = from.relus;
    to.ry = std::min(from.ry, from.h - 1), to.rx = std::min(from.rx, from.w - 1);
    for (size_t i = 0; i < from.layers.size(); ++i, ++to.stages) {
      if (to.stages == kMostStages) return "there are more than 8 layers between two pools";
      const bool conv = from.layers[i] == kConv;
      const bool relu = !conv || (i + 1 < from.layers.size() && from.layers[i + 1] == kRelu);
      i += conv && relu;
      to.conv |= int(conv) << to.stages, to.relu |= int(relu) << to.stages, to.convs += conv;
    }
    for (to.segment = 1; to.segment < to.w;) to.segment *= 2;
    to.groups = 32 / to.segment;
    const int slices = (2 * to.ry + 1) * (2 * to.rx + 1);
    to.table = out->tables;
    to.table_size = out->level.empty() ? 0 : slices * 2 * to.h * to.w;
    out->tables += to.table_size;
    out->warps = std::max(out->warps, std::min(kMostWarps, (slices - 1) / to.groups + 1));
    out->level.push_back(to);
  }
  out->sums = out->level[0].groups * out->pixels;
  for (WarpLevel& level : out->level) {
    level.sums = out->sums;
    out->sums += level.groups * level.relus * level.h * level.w;
  }
  const double positions = double(out->level.back().h) * out->level.back().w;
  out->mean = float(1.0 / (p.global ? positions * positions : positions));
  return nullptr;
}

// The plan as C++ source, for a compiler that makes constants of it.
inline std::string WarpPlanSource(const WarpPlan& p) {
  char line[512];
  int stages = 1, convs = 0;
  for (const WarpLevel& l : p.level)
    stages = std::max(stages, l.stages), convs = std::max(convs, l.convs);
  std::snprintf(line, sizeof line,
                "constexpr int kMaxLevels = %d, kMaxStages = %d, kMaxDelay = %d;\n"
                "struct Plan {\n  static constexpr int ntk = %d, channels = %d, pixels = %d, "
                "levels = %d, warps = %d, tables = %d, sums = %d;\n"
                "  static constexpr float box = %.9ef, bias = %.9ef, mean = %.9ef;\n};\n"
                "template <int L> struct Level;\n",
                p.levels, stages, 2 * std::max(0, convs - 1), p.ntk, p.channels, p.pixels, p.levels,
                p.warps, p.tables, p.sums, p.box, p.bias, p.mean);
  std::string text = line;
  for (int i = 0; i < p.levels; ++i) {
    const WarpLevel& l = p.level[i];
    std::snprintf(line, sizeof line,
                  "template <> struct Level<%d> {\n  static constexpr int h = %d, w = %d, ry = %d, "
                  "rx = %d, stages = %d, conv = %d, relu = %d, convs = %d, relus = %d, scales = %d, "
                  "table = %d, table_size = %d, segment = %d, groups = %d, sums = %d;\n};\n",
                  i, l.h, l.w, l.ry, l.rx, l.stages, l.conv, l.relu, l.convs, l.relus, l.scales,
                  l.table, l.table_size, l.segment, l.groups, l.sums);
    text += line;
  }
  return text;
}

}  // namespace kipax
