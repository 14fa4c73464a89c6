"""`make up`: a local Prefect server, a worker and the deployments. Doing it twice changes nothing."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from deployments.local import FOLDER, Local, bring_up
from tasks.core.errors import ReviewError

__all__ = ["main", "parser"]

_NEXT = """
next:
  export PREFECT_API_URL={api}
  prefect deployment run bulk-review/adhoc --param source=data/samples/samples.jsonl --watch
The worker passes on the variables that were exported when it was started: export the keys that
review.toml names before `make up`, or keep them in Secret blocks.
"""


def parser(prog: str, description: str | None) -> argparse.ArgumentParser:
    """The options that `up` and `down` share."""
    made = argparse.ArgumentParser(prog=f"python -m deployments.{prog}", description=description)
    made.add_argument(
        "--folder", type=Path, default=FOLDER, metavar="DIR", help="default: data/state/prefect"
    )
    return made


def main(arguments: list[str] | None = None) -> int:
    """Exit code 1: something did not come up."""
    options = parser("up", __doc__)
    options.add_argument("--port", type=int, metavar="N", help="default: as in server.env")
    options.add_argument(
        "--runs",
        type=int,
        default=4,
        metavar="N",
        help="flow runs at a time, of a new pool; default: 4",
    )
    given = options.parse_args(arguments)
    local = Local(given.folder.absolute(), given.port, given.runs)
    try:
        bring_up(local)
    except ReviewError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(_NEXT.format(api=local.api))
    return 0


if __name__ == "__main__":
    sys.exit(main())
