"""Runs the console script ``kipax`` for ``python -m kipax``."""

from kipax.commands import main

if __name__ == "__main__":
    main()
