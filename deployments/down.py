"""`nightly-review down`: stops the worker and the server that `up` started; all data stay."""

from __future__ import annotations

from pathlib import Path

from deployments.local import FOLDER, Local, bring_down

__all__ = ["main"]


def main(folder: Path | None) -> int:
    """Stop worker and server; returns 0, also when none runs. `folder`: None for data/state/prefect."""
    bring_down(Local((folder or FOLDER).absolute()))
    return 0
