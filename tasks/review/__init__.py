"""The domain, pure, in the order of the data: inputs, prompts, replies, places, findings."""
