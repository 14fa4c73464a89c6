"""Batches of questions at a provider's Batch API: files, records, the state of each."""
