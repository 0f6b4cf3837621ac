// The XLA custom calls of the GPU kernel. cuda.py compiles warps.h for a program at run time and
// hands the machine code over; here it is loaded and launched through the driver, which is looked
// up at run time too, so that this library is built and loads without CUDA.

#include <dlfcn.h>

#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "warp_plan.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace kipax {
namespace {

// The driver's interface, as far as it is used: cuda.h may not be there.
struct Driver {
  int (*init)(unsigned);
  int (*device)(int*, int);
  int (*attribute)(int*, int, int);
  int (*stream_context)(void*, void**);
  int (*push)(void*);
  int (*pop)(void**);
  int (*load)(void**, const void*);
  int (*function)(void**, void*, const char*);
  int (*set)(void*, int, int);
  int (*zero)(uint64_t, unsigned char, size_t, void*);
  int (*launch)(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*,
                void**, void**);
  bool complete = false;

  Driver() {
    void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL);
    if (!library) return;
    bool found = true;
    auto look_up = [&](auto& to, const char* name) {
      to = reinterpret_cast<std::decay_t<decltype(to)>>(dlsym(library, name));
      found = found && to;
    };
    look_up(init, "cuInit");
    look_up(device, "cuDeviceGet");
    look_up(attribute, "cuDeviceGetAttribute");
    look_up(stream_context, "cuStreamGetCtx");
    look_up(push, "cuCtxPushCurrent_v2");
    look_up(pop, "cuCtxPopCurrent_v2");
    look_up(load, "cuModuleLoadData");
    look_up(function, "cuModuleGetFunction");
    look_up(set, "cuFuncSetAttribute");
    look_up(zero, "cuMemsetD8Async");
    look_up(launch, "cuLaunchKernel");
    complete = found && init(0) == 0;
  }
};

const Driver& TheDriver() {
  static const Driver driver;
  return driver;
}

constexpr int kMajor = 75, kMinor = 76, kSharedOptIn = 97;  // CUdevice_attribute
constexpr int kMaxDynamicShared = 8;                        // CUfunction_attribute

struct Functions {
  void *forward, *backward, *total;
};

std::mutex mutex;
std::map<std::string, std::string> images;  // machine code, by the program that it was made for
std::map<std::pair<std::string, void*>, Functions> loaded;

// Makes a stream's context current for as long as it lives; code is loaded once a context.
class InContext {
 public:
  InContext(void* stream, const std::string& key, int64_t shared) {
    const Driver& driver = TheDriver();
    if (!driver.complete || driver.stream_context(stream, &context_) || driver.push(context_)) {
      error_ = "kipax: no CUDA driver";
      return;
    }
    pushed_ = true;
    std::lock_guard<std::mutex> lock(mutex);
    const auto at = std::make_pair(key, context_);
    if (!loaded.count(at)) {
      const auto image = images.find(key);
      void* module;
      Functions f;
      if (image == images.end() || driver.load(&module, image->second.data()) ||
          driver.function(&f.forward, module, "kipax_forward") ||
          driver.function(&f.backward, module, "kipax_backward") ||
          driver.function(&f.total, module, "kipax_total") ||
          driver.set(f.forward, kMaxDynamicShared, shared) ||
          driver.set(f.backward, kMaxDynamicShared, shared)) {
        error_ = "kipax: the GPU kernel could not be loaded";
        return;
      }
      loaded[at] = f;
    }
    functions_ = loaded[at];
  }
  ~InContext() {
    void* popped;
    if (pushed_) TheDriver().pop(&popped);
  }
  const char* error() const { return error_; }
  const Functions& functions() const { return functions_; }

 private:
  void* context_ = nullptr;
  Functions functions_ = {};
  const char* error_ = nullptr;
  bool pushed_ = false;
};

ffi::Error Launch(void* function, int64_t blocks, int64_t threads, int64_t shared, void* stream,
                  std::initializer_list<const void*> arguments) {
  std::vector<void*> list;
  for (const void* a : arguments) list.push_back(const_cast<void*>(a));
  const int code = TheDriver().launch(function, blocks, 1, 1, threads, 1, 1, shared, stream,
                                      list.data(), nullptr);
  if (code == 0) return ffi::Error::Success();
  return ffi::Error::Internal("kipax: a GPU kernel did not start, CUDA error " +
                              std::to_string(code));
}

using Floats = ffi::Buffer<ffi::F32>;
using Bytes = ffi::Buffer<ffi::U8>;
using OutFloats = ffi::ResultBuffer<ffi::F32>;

struct Sides {  // as in warp_kernels.h
  const float *x1, *x2, *s1, *s2;
  const unsigned char* same;
  int n1, n2, num_scales;

  Sides(const Floats& a, const Floats& b, const Floats& c, const Floats& d, const Bytes& e)
      : x1(a.typed_data()), x2(b.typed_data()), s1(c.typed_data()), s2(d.typed_data()),
        same(e.typed_data()), n1(a.dimensions()[0]), n2(b.dimensions()[0]),
        num_scales(c.dimensions()[1]) {}
};

// Tables that do not fit into shared memory are a result that nobody reads.
float* OrNull(OutFloats& tables) {
  return tables->element_count() ? tables->typed_data() : nullptr;
}

ffi::Error ForwardImpl(void* stream, Floats x1, Floats x2, Floats s1, Floats s2, Bytes same,
                       OutFloats k, OutFloats t, OutFloats tables, std::string_view key,
                       int64_t warps, int64_t shared, int64_t blocks, bool symmetric) {
  const InContext in(stream, std::string(key), shared);
  if (in.error()) return ffi::Error::Internal(in.error());
  const Sides sides(x1, x2, s1, s2, same);
  float *room = OrNull(tables), *to_k = k->typed_data(), *to_t = t->typed_data();
  return Launch(in.functions().forward, blocks, 32 * warps, shared, stream,
                {&sides, &symmetric, &room, &to_k, &to_t});
}

ffi::Error BackwardImpl(void* stream, Floats x1, Floats x2, Floats s1, Floats s2, Bytes same,
                        Floats gk, Floats gt, OutFloats dx, OutFloats ds, OutFloats sums,
                        OutFloats tables, std::string_view key, int64_t warps, int64_t shared,
                        int64_t blocks, int64_t parts, int64_t height) {
  const InContext in(stream, std::string(key), shared);
  if (in.error()) return ffi::Error::Internal(in.error());
  const Sides sides(x1, x2, s1, s2, same);
  const float *from_k = gk.typed_data(), *from_t = gt.typed_data();
  float *room = OrNull(tables), *partial = sums->typed_data();
  float *to_x = dx->typed_data(), *to_s = ds->typed_data();
  const int count = parts, rows = height;
  if (TheDriver().zero(reinterpret_cast<uint64_t>(partial), 0, sums->size_bytes(), stream))
    return ffi::Error::Internal("kipax: the GPU's sums could not be zeroed");
  ffi::Error error =
      Launch(in.functions().backward, blocks, 32 * warps, shared, stream,
             {&sides, &from_k, &from_t, &count, &rows, &room, &partial});
  if (error.failure()) return error;
  const int64_t elements = dx->element_count() + ds->element_count();
  return Launch(in.functions().total, (elements + 255) / 256, 256, 0, stream,
                {&partial, &sides.n2, &count, &sides.num_scales, &to_x, &to_s});
}

}  // namespace
}  // namespace kipax

extern "C" {

// The source of a program's plan, and the floats of a block's tables, of a warp's sums, and its
// warps; or null, and why it is not served.
const char* kipax_warp_plan(const int64_t* code, int64_t n, float weight_variance,
                            float bias_variance, int* sizes, const char** reason) {
  static thread_local std::string source;
  kipax::Program program;
  kipax::WarpPlan plan;
  *reason = "malformed";
  if (!kipax::ParseProgram(code, n, weight_variance, bias_variance, &program)) return nullptr;
  if ((*reason = kipax::MakeWarpPlan(program, &plan))) return nullptr;
  sizes[0] = plan.tables, sizes[1] = plan.sums, sizes[2] = plan.warps;
  source = kipax::WarpPlanSource(plan);
  return source.c_str();
}

// Compute capability and the most shared memory of a block of the first device; 0 if there is one.
int kipax_cuda_device(int* major, int* minor, int* shared) {
  const kipax::Driver& driver = kipax::TheDriver();
  int device;
  return !driver.complete || driver.device(&device, 0) ||
         driver.attribute(major, kipax::kMajor, device) ||
         driver.attribute(minor, kipax::kMinor, device) ||
         driver.attribute(shared, kipax::kSharedOptIn, device);
}

// Takes the machine code of the program that `key` stands for.
void kipax_cuda_add(const char* key, const char* image, int64_t size) {
  std::lock_guard<std::mutex> lock(kipax::mutex);
  kipax::images[key] = std::string(image, size);
}
}

namespace {

auto Sides() {
  using namespace kipax;
  return ffi::Ffi::Bind()
      .Ctx<ffi::PlatformStream<void*>>()
      .Arg<Floats>()
      .Arg<Floats>()
      .Arg<Floats>()
      .Arg<Floats>()
      .Arg<Bytes>();
}

template <typename Binding>
auto WithLaunch(Binding binding) {
  return std::move(binding)
      .template Attr<std::string_view>("key")
      .template Attr<int64_t>("warps")
      .template Attr<int64_t>("shared")
      .template Attr<int64_t>("blocks");
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    kipax_cuda_forward, kipax::ForwardImpl,
    WithLaunch(Sides().Ret<kipax::Floats>().Ret<kipax::Floats>().Ret<kipax::Floats>())
        .Attr<bool>("symmetric"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(kipax_cuda_backward, kipax::BackwardImpl,
                              WithLaunch(Sides()
                                             .Arg<kipax::Floats>()
                                             .Arg<kipax::Floats>()
                                             .Ret<kipax::Floats>()
                                             .Ret<kipax::Floats>()
                                             .Ret<kipax::Floats>()
                                             .Ret<kipax::Floats>())
                                  .Attr<int64_t>("parts")
                                  .Attr<int64_t>("height"));
