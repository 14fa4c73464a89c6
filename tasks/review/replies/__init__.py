"""From the text of a reply to comments and verdicts."""
