"""All that talks to a model. No Prefect, nothing about code review."""
