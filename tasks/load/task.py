"""Stage 1: SOURCE -> accepted inputs and rejected rows, one row at a time."""

from __future__ import annotations

import reprlib
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, BinaryIO

import orjson
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.core.errors import RowError
from tasks.core.files import atomic, write_json
from tasks.core.paths import RunPaths
from tasks.core.records import Input
from tasks.core.selection import GitOptions
from tasks.core.team_rules import RuleUse
from tasks.load.canaries import Draw, draw_canaries, read_canaries
from tasks.load.rows import no_usable_row, read_input
from tasks.load.sources import NumberedRow, may_be_empty, read_source
from tasks.review.inputs.context import widen
from tasks.review.inputs.scopes import check_grammars
from tasks.review.inputs.tokens import count_tokens, estimate_tokens
from tasks.review.prompts.team_rules import TeamRules

__all__ = ["Loaded", "load", "load_source"]

_SNIPPET = 200
_MESSAGE = 500
_LONGEST_TOKEN = 128
"""Characters; no encoding has longer ones, so more than this many times the limit is too long."""
_DEFAULT = GitOptions()


@dataclass(frozen=True, slots=True)
class Loaded:
    """Counts of the load stage."""

    inputs: int
    rejected: int
    reasons: dict[str, int] = field(default_factory=dict)
    """Rejected rows by reason."""
    tokens: int = 0
    """Estimated tokens of all accepted contents."""
    canaries: int = 0
    """Labelled inputs planted among them; in none of the other counts."""
    rules: dict[str, RuleUse] = field(default_factory=dict)
    """By the name of each of the team's rules: to how many inputs it applies."""

    @property
    def rows(self) -> int:
        """Rows of the source, accepted or not."""
        return self.inputs + self.rejected

    def sentence(self) -> str:
        """The counts in words, for the log."""
        text = f"{self.inputs:,} inputs accepted"
        text += f", {self.canaries:,} canaries planted" if self.canaries else ""
        if not self.rejected:
            return text
        why = ", ".join(f"{count:,} {reason}" for reason, count in self.reasons.items())
        return f"{text}, {self.rejected:,} rows rejected: {why}"


@task(name="load", task_run_name="load", cache_policy=NO_CACHE, persist_result=False)
def load(
    source: str,
    paths: RunPaths,
    limit: int | None,
    max_input_tokens: int,
    options: GitOptions = _DEFAULT,
    *,
    draw: Draw | None = None,
    rules: TeamRules | None = None,
    done: Loaded | None = None,
) -> Loaded:
    """Stage task; see `load_source`. `done`: it was done already, while Prefect's server started."""
    if done is not None:
        return done
    return load_source(source, paths, limit, max_input_tokens, options, draw=draw, rules=rules)


def load_source(
    source: str,
    paths: RunPaths,
    limit: int | None,
    max_input_tokens: int,
    options: GitOptions = _DEFAULT,
    *,
    draw: Draw | None = None,
    rules: TeamRules | None = None,
) -> Loaded:
    """Validate every row of SOURCE: each is accepted or rejected with a reason, none is lost.

    Accepted rows go to `paths.inputs` with an index beside it, the others to `paths.rejected`. The
    canaries of `draw` are planted among the accepted ones, with a record in `paths.planted`.
    Memory holds the ids of all rows and the content of one.

    Raises:
        ConfigError: the file of canaries cannot be used.
        SourceError: SOURCE cannot be read, or not one row is usable; of a git source none may be.
        OutputError: the output folder cannot be written.
    """
    canaries = read_canaries(draw.file) if draw else ()
    with ExitStack() as stack:
        inputs, index, rejected = (
            stack.enter_context(atomic(path))
            for path in (paths.inputs, paths.index, paths.rejected)
        )
        if options.reach == "function":
            check_grammars()
        spool = _Spool(inputs, index, rejected, max_input_tokens, options=options, rules=rules)
        rows = stack.enter_context(closing(read_source(source, options)))
        for row in islice(rows, limit):
            spool.take(row)
        # Raising inside the block leaves an earlier rejected.jsonl as it was.
        if not may_be_empty(source):
            spool.require_some(source)
        loaded = spool.loaded()
        planted = spool.plant(draw_canaries(canaries, draw, spool.ids)) if draw else {}
    if planted:
        write_json(paths.planted, planted)
    return replace(loaded, canaries=len(planted))


class _Spool:
    """Sorts rows into accepted and rejected, and remembers which ids were taken."""

    def __init__(
        self,
        inputs: BinaryIO,
        index: BinaryIO,
        rejected: BinaryIO,
        most: int,
        *,
        options: GitOptions,
        rules: TeamRules | None,
    ) -> None:
        self.ids: set[str] = set()
        self.reasons: Counter[str] = Counter()
        self.tokens = 0
        self.first = ""
        self._files = inputs, index, rejected
        self._most = most
        self._options = options
        self._rules = rules
        self.uses = {} if rules is None else rules.uses()

    def take(self, numbered: NumberedRow) -> None:
        try:
            self._accept(self._validate(numbered.row))
        except RowError as error:
            self._reject(numbered, error)

    def _validate(self, row: object) -> Input:
        item = read_input(row)
        if item.input_id in self.ids:
            msg = "an earlier row has the same input_id, or the same content and no id"
            raise RowError(msg, code="duplicate_id")
        if item.kind == "snippet":  # a large diff is split at its hunks instead
            _check_size(item.content, self._most)
        return self._in_context(item) if self._options.reach != "hunk" else item

    def _in_context(self, item: Input) -> Input:
        """A diff that carries its whole new `file`, with more of it around the hunks; the file itself goes."""
        file = item.extra.get("file")
        if item.kind != "diff" or not isinstance(file, str):
            return item
        content = widen(item.content, item.path, file, self._options.reach, self._fits)
        extra = {name: value for name, value in item.extra.items() if name != "file"}
        return replace(item, content=content, extra=extra)

    def _fits(self, text: str) -> bool:
        most = self._options.reach_tokens
        return len(text.encode()) <= most or count_tokens(text, "").tokens <= most

    def loaded(self) -> Loaded:
        rejections = sum(self.reasons.values())
        return Loaded(
            len(self.ids), rejections, dict(self.reasons), tokens=self.tokens, rules=self.uses
        )

    def plant(self, canaries: Iterable[tuple[Input, str]]) -> dict[str, str]:
        """Write canaries behind the rows; returns the id of each in its file, by that here."""
        planted: dict[str, str] = {}
        for item, name in canaries:
            self._write(item)
            planted[item.input_id] = name
        return planted

    def _accept(self, item: Input) -> None:
        self.tokens += self._write(item)
        self.ids.add(item.input_id)
        if self._rules is not None:
            self._rules.for_input(item).count(self.uses)

    def _write(self, item: Input) -> int:
        """Estimated tokens of the content."""
        inputs, index, _ = self._files
        line = orjson.dumps(item) + b"\n"
        tokens = estimate_tokens(item.content)
        index.write(orjson.dumps([item.input_id, inputs.tell(), len(line), tokens]) + b"\n")
        inputs.write(line)
        return tokens

    def _reject(self, numbered: NumberedRow, error: RowError) -> None:
        self.reasons[error.code] += 1
        self.first = self.first or f"row {numbered.number}: {error}"
        row = {
            "row": numbered.number,
            "reason": error.code,
            "message": _storable(str(error), _MESSAGE),
        }
        self._files[2].write(orjson.dumps(row | _traces(numbered)) + b"\n")

    def require_some(self, source: str) -> None:
        if not self.ids:
            raise no_usable_row(source, self.reasons.total(), self.first)


def _check_size(content: str, most: int) -> None:
    # A token is at least one byte, so the costly count is only for what may be too long.
    if len(content.encode()) <= most:
        return
    if len(content) > most * _LONGEST_TOKEN:
        tokens = f"more than {most:,}"
    elif (counted := count_tokens(content, "").tokens) > most:
        tokens = f"{counted:,}"
    else:
        return
    msg = f"content has {tokens} tokens, max_input_tokens is {most:,}: split it or raise the limit"
    raise RowError(msg, code="too_long")


def _traces(numbered: NumberedRow) -> dict[str, str]:
    """What helps to find the row again, bounded and made safe for JSON."""
    row = numbered.row
    named: dict[str, Any] = {"snippet": numbered.snippet or None}
    if isinstance(row, dict):
        code = next((row[name] for name in ("content", "input_code") if row.get(name)), None)
        named = {"input_id": row.get("input_id"), "snippet": code or numbered.snippet or None}
    elif not isinstance(row, RowError):
        named = {"snippet": row}
    return {
        name: _storable(value if isinstance(value, str) else reprlib.repr(value), _SNIPPET)
        for name, value in named.items()
        if value is not None
    }


def _storable(text: str, most: int) -> str:
    return text[:most].encode("utf-8", "replace").decode()
