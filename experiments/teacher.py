"""The command ``kipax teacher``, from a checkout: ``python -m experiments.teacher``."""

from kipax.commands.teacher import main

if __name__ == "__main__":
    main()
