"""The command ``kipax part``, from a checkout: ``python -m experiments.part``."""

from kipax.commands.part import main

if __name__ == "__main__":
    main()
