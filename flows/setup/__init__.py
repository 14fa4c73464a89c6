"""From what a user typed to what a run is: settings, keys, and the facts of manifest.json."""
