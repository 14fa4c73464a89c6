"""Stage 6: the finished tables -> report.html, report.md, manifest.json and Prefect artifacts."""
