"""The command that exports a finished run: no model is asked, nothing is decided anew."""

from __future__ import annotations

import sys

from flows.cli.finished import finished_run
from tasks.finished.export import EXPORTS, export_names
from tasks.finished.export.sarif import NOT_WHOLE

__all__ = ["export_command"]


def export_command(place: str, formats: str | None, comments: int) -> int:
    """Write `formats`, comma-separated, None for all, beside the outputs at `place`.

    `comments` is the most that a review on a pull request has at lines.

    Returns the exit code.

    Raises:
        UserError: an unknown format; no finished run at `place`, or it cannot be written there.
    """
    names = tuple(EXPORTS) if formats is None else export_names(formats)
    # Reading tables takes a second to import: after the names were checked.
    from tasks.finished.export.files import export_run  # noqa: PLC0415
    from tasks.outputs.tables import read_manifest  # noqa: PLC0415

    with finished_run(place, also=["carried.jsonl"]) as paths:
        complete = read_manifest(paths)["complete"]
        outputs = export_run(paths.root, names, comments=comments)
    for output in outputs:
        print(f"{output.rows:>8,} findings  {paths.display_path(output.name)}")
    if not complete and "sarif" in names:
        print(f"warning: the run is INCOMPLETE. {NOT_WHOLE}", file=sys.stderr)
    return 0
