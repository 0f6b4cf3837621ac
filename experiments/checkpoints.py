"""The command ``kipax checkpoints``, from a checkout: ``python -m experiments.checkpoints``."""

from kipax.commands.checkpoints import main

if __name__ == "__main__":
    main()
