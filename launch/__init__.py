"""Programs that share a run's blocks among workers, on Launchpad or Ray."""
