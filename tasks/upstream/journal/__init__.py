"""The journal of paid replies. `nightly-review journal --help` looks after it."""

from __future__ import annotations

from tasks.upstream.journal.answers import Answers
from tasks.upstream.journal.journal import Journal, open_journal

__all__ = ["Answers", "Journal", "open_journal"]
