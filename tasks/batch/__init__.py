"""The stage before inference: questions that a provider's Batch API answers, into the journal."""
