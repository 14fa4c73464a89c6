"""Shards at workers on other machines, over a Dask scheduler: the extra `workers` of the project."""
