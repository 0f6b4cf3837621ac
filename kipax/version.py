"""The one place of the version number; setup.py reads it."""

__version__ = "0.1.0"
