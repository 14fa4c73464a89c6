"""Prefect flows: the chain that reads as prose."""
