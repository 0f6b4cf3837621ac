"""The command ``kipax probe``, from a checkout: ``python -m experiments.probe``."""

from kipax.commands.probe import main

if __name__ == "__main__":
    main()
