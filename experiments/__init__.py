"""Command-line programs: thin, one call into kipax each."""
