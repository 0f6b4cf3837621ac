// The ReLU's dual and its pullback, as kipax/kernels/relu.py has them in JAX: for vectors of a CPU
// and for the lanes of a GPU alike.
//
// Included in each namespace KIPAX_ISA after Sqrt, Abs, Min and Max of its type V are declared.

namespace kipax {
namespace KIPAX_ISA {

constexpr float kInvTwoPi = 0.15915494309189535f;
constexpr float kSnap = 8.0f * 1.1920929e-07f;  // see kipax/kernels/relu.py

template <typename V>
struct DualOf {
  V k, slope, sine, c, t, root, other, inverse;
};

// kipax.kernels.relu.relu_dual; m = s1 s2, inverse = 1 / m or 0, low = -1, or 1 where both sides
// are known to be identical.
template <typename V>
KIPAX_INLINE DualOf<V> ReluDual(V n, V m, V inverse, V low) {
  DualOf<V> d;
  const V one = V{} + 1.0f, zero = V{};
  const V c = Max(Min(n * inverse, one), low);
  const V x = Abs(c);
  V t = one - x;
  t = t < V{} + kSnap ? zero : t;
  const V root = Sqrt(t);
  const V other = Sqrt(one + x);
  // Abramowitz and Stegun 4.4.46, times 1 / 2 pi.
  V a = V{} - 0.0012624911f * kInvTwoPi;
  a = a * x + 0.0066700901f * kInvTwoPi;
  a = a * x + -0.0170881256f * kInvTwoPi;
  a = a * x + 0.0308918810f * kInvTwoPi;
  a = a * x + -0.0501743046f * kInvTwoPi;
  a = a * x + 0.0889789874f * kInvTwoPi;
  a = a * x + -0.2145988016f * kInvTwoPi;
  a = a * x + 1.5707963050f * kInvTwoPi;
  const V angle = root * a;
  V slope = c >= zero ? V{} + 0.5f - angle : angle;
  slope = m > zero ? slope : zero;
  d.sine = root * other * kInvTwoPi;
  d.slope = slope;
  d.k = m * d.sine + slope * n;
  d.c = c, d.t = t, d.root = root, d.other = other, d.inverse = inverse;
  return d;
}

template <typename V>
struct DualPulled {
  V n, m, t;  // cotangents of the covariance, of s1 s2, of the companion before the ReLU
};

// Cotangents gk and gt of the covariance k and of the companion, which was t before the ReLU.
template <bool kTheta, typename V>
KIPAX_INLINE DualPulled<V> PullDual(const DualOf<V>& d, V gk, V gt, V t) {
  DualPulled<V> out{d.slope * gk, d.sine * gk, V{}};
  if constexpr (kTheta) {
    const V one = V{} + 1.0f, zero = V{};
    const V bend_over = d.root * d.other;
    const V safe = d.t > zero ? bend_over : one;
    V bend = kInvTwoPi * d.inverse / safe;
    bend = d.t > zero ? bend : zero;
    const V g_slope = gt * t * bend;
    out.n += g_slope;
    out.m -= d.c * g_slope;
    out.t = gt * d.slope;
  }
  return out;
}

}  // namespace KIPAX_ISA
}  // namespace kipax
