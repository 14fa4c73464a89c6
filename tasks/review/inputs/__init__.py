"""An input as a model is shown it: diffs read, numbered, split and counted in tokens."""
