"""`nightly-review serve [DIR]`: the reports of all runs on loopback."""

from __future__ import annotations

import socket
from pathlib import Path

from deployments.local import FOLDER, REPORTS, Local
from deployments.run_pages.server import serve
from tasks.core.errors import ConfigError

__all__ = ["main"]

_HOST = "127.0.0.1"


def main(runs: Path | None, port: int, folder: Path | None) -> int:
    """Serve until Ctrl-C; returns 0. `runs`: None for data/runs; `folder`: None for data/state/prefect.

    Raises:
        ConfigError: `runs` is no folder, or the port is taken.
    """
    root = (runs or REPORTS).absolute()
    if not root.is_dir():
        msg = f"{root} is no folder: name one that has runs"
        raise ConfigError(msg)
    _check_port(port)
    local = Local((folder or FOLDER).absolute())
    local.make_login()
    print(f"serving {root} on http://{_HOST}:{port}, login in {local.login}", flush=True)
    serve(_HOST, port, root, local.login.read_text(encoding="utf-8"))
    return 0


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError as error:
            msg = f"port {port} cannot be used ({error.strerror}): choose another one with --port"
            raise ConfigError(msg) from None
