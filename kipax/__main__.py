"""``python -m kipax`` is the console script ``kipax``."""

from kipax.commands import main

if __name__ == "__main__":
    main()
