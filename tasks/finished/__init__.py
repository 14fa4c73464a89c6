"""What reads a finished run: verify, export, repolicy, evaluate. No model is asked."""
