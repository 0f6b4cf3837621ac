"""The command ``kipax kip``, from a checkout: ``python -m experiments.kip``."""

from kipax.commands.kip import main

if __name__ == "__main__":
    main()
