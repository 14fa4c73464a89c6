"""From what a model claims (a quote, lines, a path) to where it is true in the input."""
