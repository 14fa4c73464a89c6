"""Stage 1: SOURCE -> accepted inputs and rejected rows, one row at a time."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from typing import BinaryIO

import orjson
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.core.errors import RowError, SourceError
from tasks.core.paths import RunPaths
from tasks.core.records import Input
from tasks.core.rows import read_input
from tasks.core.tokens import count_tokens, estimate_tokens
from tasks.files import atomic
from tasks.sources import NumberedRow, read_rows

__all__ = ["Loaded", "load", "load_source"]

_SNIPPET = 200


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the load stage found."""

    inputs: int
    rejected: int
    reasons: dict[str, int] = field(default_factory=dict)
    """Rejected rows by reason."""
    tokens: int = 0
    """Estimated tokens of all accepted contents."""


@task(name="load", cache_policy=NO_CACHE, persist_result=False)
def load(source: str, paths: RunPaths, limit: int | None, max_input_tokens: int) -> Loaded:
    """Stage task; see `load_source`."""
    return load_source(source, paths, limit, max_input_tokens)


def load_source(source: str, paths: RunPaths, limit: int | None, max_input_tokens: int) -> Loaded:
    """Validate every row of SOURCE.

    Accepted rows go to `paths.inputs` with an index beside it, the others to `paths.rejected`.

    Raises:
        SourceError: SOURCE cannot be read, or not one row is usable.
        OutputError: the output folder cannot be written.
    """
    with ExitStack() as stack:
        inputs, index, rejected = (
            stack.enter_context(atomic(path))
            for path in (paths.inputs, paths.index, paths.rejected)
        )
        spool = _Spool(inputs, index, rejected, max_input_tokens)
        for row in islice(read_rows(source), limit):
            spool.take(row)
        # Raising inside the block leaves an earlier rejected.jsonl as it was.
        spool.require_some(source)
    return Loaded(len(spool.ids), sum(spool.reasons.values()), dict(spool.reasons), spool.tokens)


class _Spool:
    """Sorts rows into accepted and rejected, and remembers which ids were taken."""

    def __init__(self, inputs: BinaryIO, index: BinaryIO, rejected: BinaryIO, most: int) -> None:
        self.ids: set[str] = set()
        self.reasons: Counter[str] = Counter()
        self.tokens = 0
        self.first = ""
        self._files = inputs, index, rejected
        self._most = most

    def take(self, numbered: NumberedRow) -> None:
        try:
            self._accept(self._validate(numbered.row))
        except RowError as error:
            self._reject(numbered, error)

    def _validate(self, row: object) -> Input:
        if isinstance(row, RowError):
            raise row
        item = read_input(row)
        if item.input_id in self.ids:
            msg = "an earlier row has the same input_id; ids must be unique"
            raise RowError(msg, code="duplicate_id")
        if item.kind == "snippet":  # a large diff is split at its hunks instead
            _check_size(item.content, self._most)
        return item

    def _accept(self, item: Input) -> None:
        inputs, index, _ = self._files
        line = orjson.dumps(item) + b"\n"
        tokens = estimate_tokens(item.content)
        index.write(orjson.dumps([item.input_id, inputs.tell(), len(line), tokens]) + b"\n")
        inputs.write(line)
        self.ids.add(item.input_id)
        self.tokens += tokens

    def _reject(self, numbered: NumberedRow, error: RowError) -> None:
        self.reasons[error.code] += 1
        self.first = self.first or f"row {numbered.number}: {error}"
        row = {"row": numbered.number, "reason": error.code, "message": str(error)}
        self._files[2].write(orjson.dumps(row | _traces(numbered.row)) + b"\n")

    def require_some(self, source: str) -> None:
        if not self.ids:
            found = (
                f"; the first of {self.reasons.total()}: {self.first}"
                if self.first
                else ": it is empty"
            )
            msg = f"{source} has no usable row{found}"
            raise SourceError(msg)


def _check_size(content: str, most: int) -> None:
    # A token is at least one byte, so the costly count is only for what may be too long.
    if len(content.encode()) > most and (tokens := count_tokens(content, "").tokens) > most:
        msg = f"content has {tokens} tokens, more than max_input_tokens = {most}: split it or raise the limit"
        raise RowError(msg, code="too_long")


def _traces(row: object) -> dict[str, str]:
    """What helps to find the row again, made safe for JSON."""
    if not isinstance(row, dict):
        return {}
    named = {"input_id": row.get("input_id"), "snippet": row.get("content", row.get("input_code"))}
    return {
        name: str(value)[:_SNIPPET].encode("utf-8", "replace").decode()
        for name, value in named.items()
        if value is not None
    }
