"""`nightly-review batches`: list, cancel, fetch; what runs have at their providers' Batch APIs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.getting_started import ConfigOption
from flows.cli.layout import APP, examples
from tasks.core.text_safety import visible

if TYPE_CHECKING:
    from tasks.batch.steps import Steps

__all__ = ["batches"]

_WAITS = 3
_COLUMNS = ("batch", "state", "done", "answered", "age", "model", "app_id", "run")

Batch = Annotated[
    str, typer.Argument(metavar="ID", show_default=False, help="The provider's id of the batch.")
]

batches = typer.Typer(
    **APP,
    help="Batches that runs have handed to a provider's Batch API.",
    epilog=examples(
        """
        examples:
          nightly-review batches list --config review.toml
          nightly-review batches cancel batch_abc123
          nightly-review batches fetch batch_abc123

        exit code: 0 done; 2 there is no such batch, or a run is at work on it; 3 it still works
        """
    ),
)


@batches.command("list", epilog=examples("example: nightly-review batches list"))
def list_batches(*, config: ConfigOption = "review.toml") -> None:
    """Every batch of the last 35 days, the newest last, as its provider says now."""
    with _steps(config) as steps:
        from flows.batches.display import batch_row  # noqa: PLC0415 - imports Prefect
        from tasks.batch.by_hand import look_at_batches  # noqa: PLC0415

        rows = [batch_row(one) for one in look_at_batches(steps)]
    if not rows:
        print("no batches")
        return
    # No table that is cut to the terminal: ids are to be copied, and lines to be searched.
    lines = [_COLUMNS, *(tuple(visible(str(row[name])) for name in _COLUMNS) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(map(str.ljust, line, widths)).rstrip())


@batches.command(epilog=examples("example: nightly-review batches cancel batch_abc123"))
def cancel(name: Batch, *, config: ConfigOption = "review.toml") -> None:
    """Stop a batch; what it has done by then is charged, and the next run, or `fetch`, takes it."""
    with _steps(config) as steps:
        from tasks.batch.by_hand import cancel_batch  # noqa: PLC0415

        found = cancel_batch(steps, name)
    print(
        f"batch {name} is {visible(found.said)}: the next run, or `fetch`, takes what it has answered"
    )


@batches.command(epilog=examples("example: nightly-review batches fetch batch_abc123"))
def fetch(name: Batch, *, config: ConfigOption = "review.toml") -> int:
    """Take the answers of a batch that is over into the journal."""
    with _steps(config) as steps:
        from tasks.batch.by_hand import fetch_batch  # noqa: PLC0415

        found = fetch_batch(steps, name)
    if found.state in ("uploaded", "working"):
        said = visible(found.said) or "not begun"
        print(f"batch {name} is {said}: {found.done:,} of {found.requests:,}")
        return _WAITS
    counts = f"{found.answered:,} of {found.requests:,} answers are in the journal"
    print(
        f"batch {name} is {visible(found.said) or found.state}: {counts}, {found.refused:,} were refused"
    )
    return 0


@contextmanager
def _steps(config: str) -> Iterator[Steps]:
    import logging  # noqa: PLC0415
    from pathlib import Path  # noqa: PLC0415
    from tempfile import TemporaryDirectory  # noqa: PLC0415

    from flows.setup.config import new_run, read_config  # noqa: PLC0415 - pydantic takes a while
    from flows.setup.keys import resolve_keys  # noqa: PLC0415
    from flows.ui.terminal import mute_prefect_console  # noqa: PLC0415
    from tasks.batch.opening import open_steps  # noqa: PLC0415

    mute_prefect_console()
    settings = read_config(config)
    run = new_run("by-hand", settings, fresh=False)
    log = logging.getLogger(__name__)
    with (
        TemporaryDirectory() as folder,
        open_steps(run, resolve_keys(settings), Path(folder), threading.Event(), log) as steps,
    ):
        yield steps
