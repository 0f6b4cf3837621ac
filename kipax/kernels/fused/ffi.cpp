// The XLA custom calls; the vector width is chosen here, at run time.

#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "backend.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace kipax {

static const Backend& Choose() {
  static const Backend& chosen = [&]() -> const Backend& {
#if defined(__x86_64__)
    const char* wanted = std::getenv("KIPAX_ISA");
    const std::string limit = wanted ? wanted : "";
    __builtin_cpu_init();
    const bool fma = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool wide = fma && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    if (wide && (limit.empty() || limit == "avx512")) return kAvx512;
    if (fma && limit != "base") return kAvx2;
#endif
    return kBase;
  }();
  return chosen;
}

using Floats = ffi::Buffer<ffi::F32>;
using Bytes = ffi::Buffer<ffi::U8>;
using OutFloats = ffi::ResultBuffer<ffi::F32>;
using Code = ffi::Span<const int64_t>;

static Images Of(const Floats& x, const Floats& scales) {
  return {x.typed_data(), scales.typed_data(), x.dimensions()[0]};
}

// Whether images and scales are those of the program; every index below rests on it.
static bool Fits(const Program& p, const Floats& x, const Floats* scales) {
  const auto d = x.dimensions();
  const Level& level = p.levels[0];
  if (d.size() != 4 || d[1] != level.h || d[2] != level.w || d[3] != p.channels) return false;
  if (!scales) return true;
  const auto s = scales->dimensions();
  return s.size() == 2 && s[0] == d[0] && s[1] == p.num_scales;
}

// Whether both sides have as many images where they are one set.
static bool Pairs(const Floats& x1, const Floats& x2, bool symmetric) {
  return !symmetric || x1.dimensions()[0] == x2.dimensions()[0];
}

static ffi::Error Bad() { return ffi::Error::InvalidArgument("kipax: shapes differ from the plan"); }

// The tables that a call keeps or takes: a row a group, none where nothing is kept.
static bool TakeKept(const Program& p, float* data, ffi::Span<const int64_t> shape, Kept* kept) {
  if (shape.size() != 2) return false;
  *kept = {data, shape[0]};
  return shape[0] == 0 || (shape[1] == Choose().table_floats(p) &&
                           reinterpret_cast<uintptr_t>(data) % 64 == 0);
}

static ffi::Error OwnScalesImpl(Floats x, OutFloats scales, OutFloats head, Code code,
                                float weight_variance, float bias_variance, int64_t threads) {
  Program p;
  if (!ParseProgram(code.begin(), code.size(), weight_variance, bias_variance, &p) ||
      !Fits(p, x, nullptr))
    return Bad();
  Choose().own_scales(p, x.typed_data(), x.dimensions()[0], threads, scales->typed_data(),
                      head->typed_data());
  return ffi::Error::Success();
}

static ffi::Error ForwardImpl(Floats x1, Floats x2, Floats s1, Floats s2, Bytes same, OutFloats k,
                              OutFloats t, OutFloats tables, Code code, float weight_variance, float bias_variance,
                              int64_t threads, bool symmetric) {
  Program p;
  Kept kept;
  if (!ParseProgram(code.begin(), code.size(), weight_variance, bias_variance, &p) ||
      !Fits(p, x1, &s1) || !Fits(p, x2, &s2) ||
      !TakeKept(p, tables->typed_data(), tables->dimensions(), &kept) || !Pairs(x1, x2, symmetric))
    return Bad();
  Choose().forward(p, Of(x1, s1), Of(x2, s2), same.typed_data(), symmetric, threads,
                   k->typed_data(), t->typed_data(), kept);
  return ffi::Error::Success();
}

static ffi::Error BackwardImpl(Floats x1, Floats x2, Floats s1, Floats s2, Bytes same, Floats gk,
                               Floats gt, Floats tables, OutFloats dx, OutFloats ds, Code code,
                               float weight_variance, float bias_variance, int64_t threads,
                               bool symmetric) {
  Program p;
  Kept kept;  // only read
  if (!ParseProgram(code.begin(), code.size(), weight_variance, bias_variance, &p) ||
      !Fits(p, x1, &s1) || !Fits(p, x2, &s2) ||
      !TakeKept(p, const_cast<float*>(tables.typed_data()), tables.dimensions(), &kept) ||
      !Pairs(x1, x2, symmetric))
    return Bad();
  Choose().backward(p, Of(x1, s1), Of(x2, s2), same.typed_data(), symmetric, gk.typed_data(),
                    gt.typed_data(), threads, dx->typed_data(), ds->typed_data(), kept);
  return ffi::Error::Success();
}

}  // namespace kipax

extern "C" {

const char* kipax_isa() { return kipax::Choose().name; }

// The number of loading.py, so that a library from before a change of a call is not called.
int kipax_interface() { return 2; }

// First images of a group of image pairs, which is what one row of kept tables belongs to.
int64_t kipax_lanes() { return kipax::Choose().lanes; }

// Floats of such a row; -1 for a malformed program.
int64_t kipax_table_floats(const int64_t* code, int64_t n) {
  kipax::Program p;
  return kipax::ParseProgram(code, n, 0.0f, 0.0f, &p) ? kipax::Choose().table_floats(p) : -1;
}
}

namespace {

auto Sides() {
  using namespace kipax;
  return ffi::Ffi::Bind().Arg<Floats>().Arg<Floats>().Arg<Floats>().Arg<Floats>().Arg<Bytes>();
}

template <typename Binding>
auto WithProgram(Binding binding) {
  return std::move(binding)
      .template Attr<kipax::Code>("program")
      .template Attr<float>("weight_variance")
      .template Attr<float>("bias_variance")
      .template Attr<int64_t>("threads");
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    kipax_own_scales, kipax::OwnScalesImpl,
    WithProgram(
        ffi::Ffi::Bind().Arg<kipax::Floats>().Ret<kipax::Floats>().Ret<kipax::Floats>()));

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    kipax_forward, kipax::ForwardImpl,
    WithProgram(Sides().Ret<kipax::Floats>().Ret<kipax::Floats>().Ret<kipax::Floats>())
        .Attr<bool>("symmetric"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(kipax_backward, kipax::BackwardImpl,
                              WithProgram(Sides()
                                              .Arg<kipax::Floats>()
                                              .Arg<kipax::Floats>()
                                              .Arg<kipax::Floats>()
                                              .Ret<kipax::Floats>()
                                              .Ret<kipax::Floats>())
                                  .Attr<bool>("symmetric"));
