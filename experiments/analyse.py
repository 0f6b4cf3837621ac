"""The command ``kipax analyse``, from a checkout: ``python -m experiments.analyse``."""

from kipax.commands.analyse import main

if __name__ == "__main__":
    main()
