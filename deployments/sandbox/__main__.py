"""The sandbox as the child of `start_sandbox`, which gives it settings and port on stdin."""

from __future__ import annotations

import json
import sys

import uvloop

from deployments.sandbox.config import SandboxConfig
from deployments.sandbox.server import serve
from tasks.core.errors import ConfigError

__all__ = ["main"]


def main() -> int:
    """Run until stdin ends. What is wrong is a line of JSON on stdout, as the address would be."""
    given = json.loads(sys.stdin.readline())
    try:
        SandboxConfig.read(given["settings"])
        uvloop.run(serve(given["settings"], "127.0.0.1", given["port"], with_parent=True))
    except ConfigError as error:
        print(json.dumps({"error": str(error)}))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
