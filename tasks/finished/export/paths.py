"""Paths of findings as the formats write them: with slashes, and inside of the repository."""

from __future__ import annotations

import re
from urllib.parse import quote

__all__ = ["artifact_uri", "leaves_root", "report_path"]

_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_DEPOT = "//"


def report_path(path: str) -> str:
    """A path with slashes; Windows wrote it where it has backslashes alone, or a drive.

    A depot's path is relative to the depot, and what leads out of the root is left off.
    """
    if _DRIVE.match(path) or ("\\" in path and "/" not in path):
        path = path.replace("\\", "/")
    if path.startswith(_DEPOT):
        path = path.lstrip("/")
    return path if _is_absolute(path) else _inside(path)


def leaves_root(path: str) -> bool:
    """Whether a path means a file outside of the repository or folder that was reviewed."""
    slashed = path.replace("\\", "/")
    return _is_absolute(slashed) or ".." in slashed.split("/")


def artifact_uri(path: str) -> str:
    """A valid URI reference: relative to the source root, or `file:` for an absolute path."""
    path = report_path(path)
    if _DRIVE.match(path):
        return f"file:///{path[:2]}{quote(path[2:], safe='/')}"
    encoded = quote(path, safe="/")
    return f"file://{encoded}" if encoded.startswith("/") else encoded


def _is_absolute(path: str) -> bool:
    return path.startswith("/") or _DRIVE.match(path) is not None


def _inside(path: str) -> str:
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            parts = parts[:-1]
        else:
            parts.append(part)
    return "/".join(parts).lstrip("/") or "."
