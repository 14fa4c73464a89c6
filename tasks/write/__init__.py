"""Stage 5: merged lines -> three Parquet tables and reviews.json."""
