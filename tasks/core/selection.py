"""
Which files of a repository or folder are worth a review, by gitignore patterns.

    exclude matches             -> left out, whatever include says
    include is empty            -> taken
    include does not match      -> left out

The last pattern that matches decides, so `!vendor/ours.py` behind `vendor/` takes that file back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from pathspec import PathSpec

__all__ = ["DEFAULT_EXCLUDE", "GitOptions", "Selection", "pattern_problem"]

_LOCK_FILES = (
    "*.lock", "*.lockb", "*.lockfile", "package-lock.json", "npm-shrinkwrap.json",
    "pnpm-lock.yaml", "packages.lock.json", "go.sum", ".terraform.lock.hcl", "Package.resolved",
)  # fmt: skip
_VENDORED = (
    ".git", ".hg", ".svn", "vendor/", "third_party/", "third-party/", "node_modules/",
    "bower_components/", "site-packages/", "Pods/", ".venv/", "venv/", "__pycache__/",
)  # fmt: skip
_GENERATED = (
    "dist/", "generated/", "__generated__/", "*.generated.*", "*_generated.*", "zz_generated.*",
    "*.gen.go", "*.pb.*", "*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*.g.dart",
    "*.freezed.dart", "*.designer.cs", "*.min.js", "*.min.mjs", "*.min.css", "*.bundle.js",
    "*.map", "__snapshots__/", "*.snap", "*.ambr",
)  # fmt: skip
_DATA = ("*.jsonl", "*.ndjson", "*.csv", "*.tsv", "*.parquet", "*.svg")

Reach = Literal["hunk", "function", "file"]

DEFAULT_EXCLUDE: tuple[str, ...] = (*_LOCK_FILES, *_VENDORED, *_GENERATED, *_DATA)
"""Lock files, vendored code, generated and minified code, snapshots, data."""


@dataclass(frozen=True, slots=True)
class GitOptions:
    """What is taken from a repository; folders use all but `context`."""

    include: tuple[str, ...] = ()
    """Patterns; empty: everything."""
    exclude: tuple[str, ...] = DEFAULT_EXCLUDE
    max_bytes: int = 400_000
    """Bytes of one file's diff, or of one file in a folder."""
    context: int = 10
    """Unchanged lines around each change."""
    reach: Reach = "hunk"
    """What is shown around the hunks of a diff, where the source has the whole new file."""
    reach_tokens: int = 8000
    """Tokens of a diff beyond which it is shown with less around its hunks."""


class Selection:
    """The patterns of `options`, compiled.

    Raises ValueError for a pattern that is none.
    """

    def __init__(self, options: GitOptions) -> None:
        self._exclude = _spec(options.exclude)
        self._include = _spec(options.include)
        self._everything = not options.include

    def refusal(self, path: str) -> str | None:
        """Why the file at `path`, relative and with slashes, is left out; None when it is taken."""
        excluded = self.excluded(path)
        if excluded or self._everything or self._include.match_file(path):
            return excluded
        return "no include pattern matches it"

    def excluded(self, path: str) -> str | None:
        """Whether exclude patterns alone leave the path out; a folder ends in a slash."""
        result = self._exclude.check_file(path)
        if not result.include or result.index is None:
            return None
        pattern = self._exclude.patterns[result.index].pattern
        return f"the exclude pattern {pattern!r} matches it"


def pattern_problem(patterns: Iterable[str]) -> str | None:
    """What is wrong with the first pattern that is none; None when all are good."""
    for pattern in patterns:
        try:
            _spec([pattern])
        except ValueError:
            return f"{pattern!r} is no pattern; write them as in a .gitignore file"
    return None


def _spec(patterns: Iterable[str]) -> PathSpec[Any]:
    return PathSpec.from_lines("gitignore", patterns)
