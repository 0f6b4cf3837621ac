// Four floats at a time: SSE2 on x86-64, NEON on ARM.
#define KIPAX_ISA base
#define KIPAX_LANES 4
#include "groups.h"

namespace kipax {
const Backend kBase = base::MakeBackend("base");
}
