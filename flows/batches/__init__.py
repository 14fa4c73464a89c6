"""Batches of a run as its flow sees them: the rounds before the shards, and what is shown of them."""
