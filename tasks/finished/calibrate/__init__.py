"""Thresholds from labels: the [policy] that shows the most true findings at a wanted precision."""
