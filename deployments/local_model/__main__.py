"""The local model as the child of `local_model`, which gives it options and port on stdin."""

from __future__ import annotations

import json
import sys

from deployments.local_model.command import main
from flows.shards.watchdog import exit_with_lifeline
from tasks.core.errors import ConfigError

if __name__ == "__main__":
    given = json.loads(sys.stdin.readline())
    exit_with_lifeline(sys.stdin.fileno())
    try:
        sys.exit(main(given["port"], given["options"]))
    except ConfigError as error:
        print(json.dumps({"error": str(error)}))
        sys.exit(2)
