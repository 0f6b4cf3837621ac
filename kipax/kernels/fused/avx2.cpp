// Eight floats at a time; compiled for and run on processors with AVX2 and FMA only.
#define KIPAX_ISA avx2
#define KIPAX_LANES 8
#include "groups.h"

namespace kipax {
const Backend kAvx2 = avx2::MakeBackend("avx2");
}
