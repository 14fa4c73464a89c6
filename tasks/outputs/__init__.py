"""A run's outputs as files: their schemas, and what reads them back, from here or from a URL."""
