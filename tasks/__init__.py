"""The stages in the order of the data, what reads a finished run, the domain, and all that talks to a model."""
