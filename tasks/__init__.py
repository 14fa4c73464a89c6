"""One module per stage, in pipeline order: load, shard, infer, merge, write, report."""
