"""One call: client pool, attempts, retries, streams, and what is kept out of every text."""
