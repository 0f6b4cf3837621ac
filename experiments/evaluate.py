"""The command ``kipax evaluate``, from a checkout: ``python -m experiments.evaluate``."""

from kipax.commands.evaluate import main

if __name__ == "__main__":
    main()
