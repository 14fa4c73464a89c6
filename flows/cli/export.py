"""The command line that exports a finished run: no model is asked, nothing is decided anew."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tasks.core.errors import ReviewError
from tasks.finished.export import EXPORTS, export_names

__all__ = ["main"]

_EXAMPLES = f"""\
formats:
{"".join(f"  {name:<9} {export.file}{chr(10)}" for name, export in EXPORTS.items())}
examples:
  python -m flows.cli.export data/runs/tonight                       # all formats
  python -m flows.cli.export data/runs/tonight --export sarif,gitlab
  sarif summary data/runs/tonight/review.sarif
  reviewdog -f=rdjsonl -reporter=local < data/runs/tonight/review.rdjsonl

exit code: 0 written; 2 DIR is no finished run, cannot be written, or a format is unknown
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m flows.cli.export",
        description="Write the kept findings of a finished run in formats that other tools open.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", metavar="DIR", help="output folder of a finished run")
    parser.add_argument(
        "--export",
        default=",".join(EXPORTS),
        metavar="LIST",
        help="comma-separated formats; default: all",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        return _export(Path(arguments.folder), arguments.export)
    except ReviewError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _export(folder: Path, text: str) -> int:
    names = export_names(text)
    # Reading tables takes a second to import: after --help and after names were checked.
    from tasks.finished.export.files import export_run  # noqa: PLC0415

    for output in export_run(folder, names):
        print(f"{output.rows:>8,} findings  {folder / output.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
