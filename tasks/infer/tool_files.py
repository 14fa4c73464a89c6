"""The inputs of a slice as files in a folder, for a program to read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from tasks.core.records import Input

__all__ = ["lay_out", "path_for"]

_ENDINGS = {
    "c": "c", "c++": "cpp", "cpp": "cpp", "c#": "cs", "csharp": "cs", "css": "css", "go": "go",
    "html": "html", "java": "java", "javascript": "js", "js": "js", "json": "json",
    "kotlin": "kt", "lua": "lua", "php": "php", "python": "py", "py": "py", "ruby": "rb",
    "rust": "rs", "scala": "scala", "bash": "sh", "shell": "sh", "sql": "sql", "swift": "swift",
    "typescript": "ts", "ts": "ts", "tsx": "tsx", "yaml": "yaml",
}  # fmt: skip
_LONGEST_NAME = 200
"""Bytes of a file's or folder's name; file systems take 255."""
_LONGEST_PATH = 1000


def path_for(item: Input) -> str:
    """The path of an input's file: its own without what leads out of a folder, else by its language."""
    steps = [step for step in (item.path or "").replace("\\", "/").split("/") if _is_name(step)]
    path = "/".join(step.replace("\0", "_").replace(":", "_") for step in steps)
    if path and len(path) <= _LONGEST_PATH and all(_fits(step) for step in steps):
        return path
    ending = _ENDINGS.get((item.language or "").strip().lower())
    return f"input.{ending}" if ending else "input"


def lay_out(items: Iterable[Input], folder: Path) -> dict[str, Input]:
    """Write each input below `folder`; returns them by their path there, with slashes.

    An input whose path is taken, as a file or as a folder, gets a folder of its own.
    """
    files: dict[str, Input] = {}
    taken: set[str] = set()
    for number, item in enumerate(items):
        path = path_for(item)
        above = {str(one) for one in PurePosixPath(path).parents}
        if path in taken or not files.keys().isdisjoint(above):
            path = f".input-{number}/{path}"
            above = {str(one) for one in PurePosixPath(path).parents}
        taken |= {path, *above}
        files[path] = item
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(item.content.encode("utf-8", "surrogatepass"))
    return files


def _is_name(step: str) -> bool:
    return step not in {"", ".", ".."}


def _fits(step: str) -> bool:
    return len(step.encode("utf-8", "surrogatepass")) <= _LONGEST_NAME
