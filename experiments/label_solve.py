"""The command ``kipax label_solve``, from a checkout: ``python -m experiments.label_solve``."""

from kipax.commands.label_solve import main

if __name__ == "__main__":
    main()
