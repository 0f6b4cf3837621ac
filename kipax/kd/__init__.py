"""Networks distilled from networks, or from distilled sets."""
