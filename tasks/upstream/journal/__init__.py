"""The journal of paid replies. `python -m tasks.upstream.journal --help` looks after its file."""

from __future__ import annotations

from tasks.upstream.journal.store import Journal

__all__ = ["Journal"]
