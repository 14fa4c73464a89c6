"""`nightly-review down`: stops the worker and the server that `up` started; all data stay."""

from __future__ import annotations

from pathlib import Path

from deployments.local import FOLDER, Local, bring_down

__all__ = ["main"]


def main(folder: Path | None) -> int:
    """Always 0: what does not run is as it should be. `folder`: None for data/state/prefect."""
    bring_down(Local((folder or FOLDER).absolute()))
    return 0
