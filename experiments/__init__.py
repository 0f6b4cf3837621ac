"""What needs a checkout: the paper's figures, benchmarks, and `kipax.commands` by ``python -m``."""
