"""Stage 3: one process's share of a run, in slices, inputs and cells."""
