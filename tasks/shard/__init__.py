"""Stage 2: accepted inputs -> shards of about equal work."""
