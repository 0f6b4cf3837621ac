"""The command ``kipax subsets``, from a checkout: ``python -m experiments.subsets``."""

from kipax.commands.subsets import main

if __name__ == "__main__":
    main()
