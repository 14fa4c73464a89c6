"""What Prefect's UI shows and takes: limits, progress, events, names, states, and its server."""
