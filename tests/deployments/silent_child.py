"""A child that never says where it listens; it ends with its stdin."""

import sys

if __name__ == "__main__":
    sys.stdin.read()
