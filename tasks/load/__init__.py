"""Stage 1: SOURCE -> accepted inputs and rejected rows."""
