"""The command ``kipax plan``, from a checkout: ``python -m experiments.plan``."""

from kipax.commands.plan import main

if __name__ == "__main__":
    main()
