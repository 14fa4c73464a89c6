"""`make down`: stops the worker and the server that `make up` started; all data stay."""

from __future__ import annotations

import sys

from deployments.local import Local, bring_down
from deployments.up import parser

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Always 0: what does not run is as it should be."""
    options = parser("down", __doc__).parse_args(arguments)
    bring_down(Local(options.folder.absolute()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
