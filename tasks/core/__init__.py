"""Pure: records, settings, prompts, replies, diffs, policy, metrics. No Prefect, no network, no disk."""
