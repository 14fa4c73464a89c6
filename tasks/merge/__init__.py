"""Stage 4: the shards' parts -> one line per input, and the proof that no cell is missing."""
