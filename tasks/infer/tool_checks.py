"""Checks that are tools: what a program, or the SARIF file of one, says of the inputs of a slice."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from tasks.core.check_settings import ToolSettings
from tasks.core.errors import ConfigError, ReplyError
from tasks.core.records import CallRow, Input
from tasks.core.selection import GitOptions, Selection
from tasks.core.settings import Settings
from tasks.infer.fence import INTERNAL_ERROR, is_ours
from tasks.infer.tool_files import lay_out, path_for
from tasks.infer.tool_run import Ended, find_program, run_tool, tool_commands, tool_environment
from tasks.review.places.places import pages_of
from tasks.review.places.tool_places import common_root, placed, relative_path
from tasks.review.replies.contract import RawComment
from tasks.review.replies.sarif import SarifFinding, SarifLog, read_sarif

__all__ = ["ToolAnswer", "ToolChecks", "read_sarif_file", "tool_row"]

NOT_INCLUDED, NO_FILE = "not_included", "no_whole_file"
_FOUND_SOMETHING = (0, 1)
"""Exit codes of a program that has done its work."""

Complain = Callable[[ToolSettings, str, str], None]
Broken = Callable[[str, BaseException], None]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ToolAnswer:
    """What became of a tool's cell on one input."""

    comments: tuple[RawComment, ...] = ()
    failed: str | None = None
    """Code of its failure."""
    skipped: str | None = None
    words: str | None = None
    """The tool's own, where it failed."""


class ToolChecks:
    """Runs the tools of a shard, slice by slice, and keeps their answers. Thread-safe.

    `complain` is told of each failure (the check, its code, the tool's words), `broken` of a defect
    of ours, with an input's id.
    """

    def __init__(self, settings: Settings, complain: Complain, broken: Broken) -> None:
        self._settings = settings
        self._complain = complain
        self._broken = broken
        self._answers: dict[tuple[str, str], ToolAnswer] = {}

    def run(self, items: Sequence[Input]) -> None:
        """Let every tool look at the inputs of a slice."""
        for tool in self._settings.tool_check:
            for item, answer in zip(items, self._answered(tool, items), strict=True):
                self._answers[tool.name, item.input_id] = answer

    def answer(self, tool: ToolSettings, item: Input) -> ToolAnswer:
        """What a tool said of an input of a slice that `run` was called for."""
        return self._answers[tool.name, item.input_id]

    def forget(self, items: Iterable[Input]) -> None:
        """Drop the answers of a slice that is done."""
        for item in items:
            for tool in self._settings.tool_check:
                self._answers.pop((tool.name, item.input_id), None)

    def _answered(self, tool: ToolSettings, items: Sequence[Input]) -> list[ToolAnswer]:
        skipped = [_skipped(tool, item) for item in items]
        wanted = [item for item, reason in zip(items, skipped, strict=True) if reason is None]
        try:
            found = self._found(tool, wanted)
        except ReplyError as error:
            self._complain(tool, error.code, str(error))
            return _all(ToolAnswer(failed=error.code, words=str(error)), skipped)
        except Exception as error:
            if not is_ours(error):
                raise
            self._broken(wanted[0].input_id, error)
            return _all(ToolAnswer(failed=INTERNAL_ERROR), skipped)
        return [
            ToolAnswer(skipped=reason)
            if reason
            else ToolAnswer(tuple(found.get(item.input_id, ())))
            for item, reason in zip(items, skipped, strict=True)
        ]

    def _found(self, tool: ToolSettings, items: Sequence[Input]) -> Mapping[str, list[RawComment]]:
        if not items:
            return {}
        if tool.sarif is not None:
            return _matched(tool, read_sarif_file(tool.sarif).findings, _by_path(items), "")
        with tempfile.TemporaryDirectory(prefix="nightly-review-") as name:
            folder = Path(name).resolve()
            files = lay_out(items, folder)
            log = self._run(tool, folder, list(files))
            known = {path: [item] for path, item in files.items()}
            return _matched(tool, log, known, f"{folder.as_posix()}/")

    def _run(self, tool: ToolSettings, folder: Path, files: list[str]) -> list[SarifFinding]:
        try:
            program = find_program(tool.command[0])
        except ConfigError as error:
            raise ReplyError(str(error), code=error.code) from None
        run = partial(
            run_tool,
            folder=folder,
            timeout=tool.timeout,
            environment=tool_environment(self._settings),
        )
        found: list[SarifFinding] = []
        for command in tool_commands([program, *tool.command[1:]], files):
            try:
                found += _read(run(command), tool).findings
            except OSError as error:
                msg = f"it cannot be started: {error.strerror}"
                raise _failed(msg) from None
        return found


def tool_row(item: Input, tool: ToolSettings, part: int, answer: ToolAnswer) -> CallRow:
    """The row of a tool's cell: no call and no tokens, so it costs nothing."""
    reason = answer.failed or answer.skipped
    row = CallRow(
        item.input_id, "check", tool.name, part, tool.model, "ok", raw_snippet=answer.words
    )
    if answer.skipped:
        return replace(row, status="skipped", reason=reason)
    return replace(row, status="failed" if answer.failed else "ok", reason=reason, cost_usd=0.0)


def _skipped(tool: ToolSettings, item: Input) -> str | None:
    """Why a tool has nothing to do with an input."""
    selection = Selection(GitOptions(include=tool.include, exclude=()))
    paths = {page.path for page in pages_of(item)} if item.kind == "diff" else set()
    names = [path for path in paths if path] or [path_for(item)]
    if all(selection.refusal(name) for name in names):
        return NOT_INCLUDED
    # What a diff shows is no file that a program could read.
    return NO_FILE if tool.command and item.kind == "diff" else None


def _all(answer: ToolAnswer, skipped: Iterable[str | None]) -> list[ToolAnswer]:
    return [ToolAnswer(skipped=reason) if reason else answer for reason in skipped]


def _failed(words: str) -> ReplyError:
    return ReplyError(words, code="tool_failed")


def read_sarif_file(path: str) -> SarifLog:
    """Read a SARIF file that a tool has written.

    Raises:
        ReplyError: unreadable_sarif: it is missing, or is none.
    """
    try:
        return read_sarif(Path(path).read_bytes())
    except OSError as error:
        words = f"{path} cannot be read ({error.strerror}): write it before the run"
        raise ReplyError(words, code="unreadable_sarif") from None
    except ReplyError as error:
        msg = f"{path}: {error}"
        raise ReplyError(msg, code=error.code) from None


def _read(ended: Ended, tool: ToolSettings) -> SarifLog:
    """What a program has found; its exit code counts only where it has found nothing."""
    if ended.code is None:
        msg = f"it took more than {tool.timeout:g} s: raise the timeout of the check. {ended.words}"
        raise ReplyError(msg.strip(), code="tool_timeout")
    status = f"exit code {ended.code}" if ended.code >= 0 else f"signal {-ended.code}"
    try:
        log = read_sarif(ended.output)
    except ReplyError as error:
        words = f"{status}: {ended.words or error}"
        raise _failed(words) from None
    nothing = ended.code not in _FOUND_SOMETHING and not log.findings
    if log.failure or ended.code < 0 or nothing:
        words = f"{status}: {log.failure or ended.words}"
        raise _failed(words)
    return log


def _by_path(items: Iterable[Input]) -> dict[str, list[Input]]:
    known: dict[str, list[Input]] = defaultdict(list)
    for item in items:
        names = {name for page in pages_of(item) for name in page.names if page.side == "right"}
        for name in names:
            known[name].append(item)
    return known


def _matched(
    tool: ToolSettings,
    findings: Sequence[SarifFinding],
    known: Mapping[str, Sequence[Input]],
    root: str,
) -> dict[str, list[RawComment]]:
    root = root or common_root((one.path for one in findings), known)
    found: dict[str, list[RawComment]] = defaultdict(list)
    for finding in findings:
        path = relative_path(finding.path, root)
        for item in known.get(path or "", ()):
            raw = placed(item, path or "", _as_wanted(tool, finding))
            if raw is not None:
                found[item.input_id].append(raw)
    return found


def _as_wanted(tool: ToolSettings, finding: SarifFinding) -> SarifFinding:
    raw = finding.raw
    severity = _by_rule(tool.severities, finding.rule) or raw.severity
    category = _by_rule(tool.categories, finding.rule) or raw.category
    return replace(finding, raw=replace(raw, severity=severity, category=category))


def _by_rule(table: Mapping[str, _T], rule: str) -> _T | None:
    """The value of the longest beginning of a rule's id that the table has."""
    starts = [start for start in table if rule.startswith(start)]
    return table[max(starts, key=len)] if starts else None
