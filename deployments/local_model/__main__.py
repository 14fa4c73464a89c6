"""The local model as the child of `local_model`, with port, options and parent as JSON."""

from __future__ import annotations

import json
import sys

from deployments.local_model.command import main
from flows.shards.watchdog import exit_with_parent
from tasks.core.errors import ConfigError

if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    exit_with_parent(given["parent"])
    try:
        sys.exit(main(given["port"], given["options"]))
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
