"""The command ``kipax kd``, from a checkout: ``python -m experiments.kd``."""

from kipax.commands.kd import main

if __name__ == "__main__":
    main()
