"""A finished run against the labels of its inputs."""
