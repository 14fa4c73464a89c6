"""What the reviewers of a run were worth, by its canaries, and whether one has become worse."""
