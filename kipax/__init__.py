"""kipax."""
from kipax.kernels import make_kernel_fn
