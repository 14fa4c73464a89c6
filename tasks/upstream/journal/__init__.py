"""The journal of paid replies. `nightly-review journal --help` looks after it."""

from __future__ import annotations

from tasks.upstream.journal.journal import Journal, open_journal

__all__ = ["Journal", "open_journal"]
