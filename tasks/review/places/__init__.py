"""Places of comments: from a model's quote, lines and path to the lines of the input that they mean."""
