"""Settings, keys and folders of a run from what a user typed, and the facts of its manifest."""
