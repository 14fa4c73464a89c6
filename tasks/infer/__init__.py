"""One process's share of a night: slices, inputs, cells. Everything the task bodies need, no Prefect."""
