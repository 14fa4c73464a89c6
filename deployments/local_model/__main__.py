"""Command line of the local model."""

from __future__ import annotations

import argparse
import json
import os
import sys

from deployments.local_model.engine import ModelOptions
from deployments.local_model.front import Front
from flows.shards.watchdog import exit_with_parent
from tasks.core.errors import ConfigError

__all__ = ["main"]

_EPILOG = """
examples:
  python -m deployments.local_model
  python -m deployments.local_model --port 0 --threads 4 --parallel 4
  curl -s localhost:8081/v1/chat/completions -d '{"messages": [{"role": "user", "content": "Hi"}]}'

Prints one JSON line with base_url when it is ready to answer. In review.toml:
  [app_ids.local]
  key = "env:LOCAL_KEY"        # any text: the server does not look at it
  base_url = "http://127.0.0.1:8081/v1"

Replies that are held to a JSON schema are bounded by --max-chars and --max-items, since this model
would fill its first string until max_tokens. Ctrl-C stops it.
"""


def _options() -> argparse.ArgumentParser:
    default = ModelOptions()
    parser = argparse.ArgumentParser(
        prog="python -m deployments.local_model",
        description="SmolLM2-135M-Instruct behind an OpenAI-compatible server on loopback.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    def number(name: str, standard: int, text: str) -> None:
        parser.add_argument(
            name, type=int, default=standard, metavar="N", help=f"{text} (default {standard})"
        )

    number("--port", 8081, "0: any free one")
    number("--threads", default.threads, "CPU threads")
    number("--parallel", default.parallel, "requests computed together")
    number("--context", default.context, "tokens of one request, prompt and reply")
    number("--max-chars", default.max_chars, "characters of a string in a reply with a schema")
    number("--max-items", default.max_items, "items of a list in a reply with a schema")
    parser.add_argument("--parent", type=int, help=argparse.SUPPRESS)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Serve until stopped. Exit code 2: a package is missing or the port is taken."""
    given = vars(_options().parse_args(arguments))
    port, parent = given.pop("port"), given.pop("parent")
    if parent is not None:
        exit_with_parent(parent)
    try:
        _serve(ModelOptions(**given), port)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _serve(options: ModelOptions, port: int) -> None:
    with _listen(port) as front:
        try:
            front.load(options)
            print(json.dumps({"base_url": front.base_url}), flush=True)
            front.serve_forever()
        except KeyboardInterrupt:
            # The library's threads keep the interpreter from ending, one time in three.
            os._exit(0)


def _listen(port: int) -> Front:
    # Before the model is loaded: a taken port is told at once.
    try:
        return Front(port)
    except (OSError, OverflowError) as error:
        msg = f"cannot listen on port {port}: {error}; choose another one with --port"
        raise ConfigError(msg) from None


if __name__ == "__main__":
    sys.exit(main())
