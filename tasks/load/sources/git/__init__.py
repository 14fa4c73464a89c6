"""A git repository as a source: one input per file that a range of commits changed."""
