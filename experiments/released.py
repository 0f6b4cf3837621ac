"""The command ``kipax released``, from a checkout: ``python -m experiments.released``."""

from kipax.commands.released import main

if __name__ == "__main__":
    main()
