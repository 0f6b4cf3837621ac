// Sixteen floats at a time; compiled for and run on processors with AVX-512 only.
#define KIPAX_ISA avx512
#define KIPAX_LANES 16
#include "groups.h"

namespace kipax {
const Backend kAvx512 = avx512::MakeBackend("avx512");
}
