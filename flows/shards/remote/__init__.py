"""Shards at workers on other machines, over a folder in shared storage."""
