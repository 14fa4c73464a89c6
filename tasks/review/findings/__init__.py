"""From comments to findings: fingerprints, clusters, policy, history."""
