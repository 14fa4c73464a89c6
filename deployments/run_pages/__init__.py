"""Pages of finished runs over HTTP: one that lists them, and the report of each."""
