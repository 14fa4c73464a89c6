"""Stage 7: finished outputs -> the place that an fsspec URL names."""
