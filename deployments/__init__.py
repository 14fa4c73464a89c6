"""Programs that one starts: deployments, examples, the local model, the sandbox upstream."""
