"""
Serves reports on loopback, to whoever has the login: they hold the code under review.

    /                       the list of runs
    /<run>/report.html      the report of a run; report.md and manifest.json beside it
    everything else         404

    python -m deployments.run_pages.server HOST PORT FOLDER LOGIN_FILE
"""

from __future__ import annotations

import base64
import binascii
import hmac
import sys
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from deployments.run_pages.listing import read_runs, trends_of
from deployments.run_pages.page import render_runs
from flows.ui.server import host_names

__all__ = ["make_app", "serve"]

_FILES = {
    "report.html": "text/html",
    "report.md": "text/plain",
    "manifest.json": "application/json",
}
_NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_LISTING = f"{_NOTHING}; style-src 'unsafe-inline'; img-src data:"
# The report's own policy, in the page, allows only its two scripts; a page is bound by both.
_REPORT = f"{_LISTING}; script-src 'unsafe-inline'"


def make_app(root: Path, login: str, host: str = "127.0.0.1") -> Starlette:
    """The application for the runs below `root`; `login` is "user:password"."""
    root = root.resolve()

    def listing(request: Request) -> Response:
        if not _may(request, login):
            return _ask()
        runs = read_runs(root)
        return HTMLResponse(render_runs(runs, trends_of(runs)), headers=_headers(_LISTING))

    def report(request: Request) -> Response:
        if not _may(request, login):
            return _ask()
        path = _file_of(root, request.path_params["path"])
        if path is None:
            return PlainTextResponse("not found", 404, _headers(_NOTHING))
        policy = _REPORT if path.suffix == ".html" else _NOTHING
        return Response(path.read_bytes(), 200, _headers(policy), _FILES[path.name])

    return Starlette(
        routes=[Route("/", listing), Route("/{path:path}", report)],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=host_names(host))],
    )


def _may(request: Request, login: str) -> bool:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    try:
        known = base64.b64decode(given, validate=True)
    except (binascii.Error, ValueError):
        return False
    return scheme.lower() == "basic" and hmac.compare_digest(known, login.encode())


def _ask() -> Response:
    headers = _headers(_NOTHING) | {"WWW-Authenticate": 'Basic realm="nightly-review"'}
    return PlainTextResponse("the login is what `nightly-review up` has made", 401, headers)


def _file_of(root: Path, name: str) -> Path | None:
    """The file of a finished run; None: anything else, whatever it is."""
    wanted = root / name
    if wanted.name not in _FILES or any(part.startswith(".") for part in Path(name).parts):
        return None
    try:
        found = wanted.resolve(strict=True)
    except (OSError, ValueError):
        return None
    inside = found.is_relative_to(root) and found.parent != root
    return found if inside and (found.parent / "manifest.json").is_file() else None


def _headers(policy: str) -> dict[str, str]:
    return {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }


def serve(host: str, port: int, root: Path, login: str) -> None:
    """Serve until a signal comes."""
    uvicorn.run(make_app(root, login, host), host=host, port=port, log_level="warning")


if __name__ == "__main__":
    _host, _port, _root, _login = sys.argv[1:]
    serve(_host, int(_port), Path(_root), Path(_login).read_text(encoding="utf-8"))
