"""Programs of a checkout: the paper's figures, benchmarks, `kipax.commands` by ``python -m``."""
