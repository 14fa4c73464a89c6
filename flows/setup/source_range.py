"""
The commits that a run reviews: decided once, at its start, and the same for whoever repeats it.

    resolved     a git source -> git:PATH@BASE..HEAD, before the first row is read
    pinned       a flow run that is retried finds it in its parameters; a run into the folder of one
                 that did not end complete finds it there; an automation gets it from the run's event
    moved on     `since=last` begins at the head of the last run that ended complete, --limit apart

The first run of `since=last` remembers where it began, so that one that fails loses nothing either.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from tasks.core.errors import StateError
from tasks.core.files import read_json, write_json
from tasks.core.git_source import GIT_PREFIX, SINCE_LAST, parse_git_source
from tasks.core.locations import resolve_state
from tasks.core.paths import RunPaths
from tasks.core.run import Run
from tasks.core.settings import Settings
from tasks.load.reviewed_heads import ReviewedHead, read_head, write_head
from tasks.load.sources.git.resolve import ResolvedRange, moves_head, resolve_git
from tasks.merge.baseline import source_key
from tasks.report.server_health import server_answers

__all__ = ["SourceRange", "head_key", "move_on", "resolve_source", "resolved_now"]

_PARAMETER = "resolved"


@dataclass(frozen=True, slots=True)
class SourceRange:
    """The source of a run: SOURCE itself, or the range that a git source means."""

    source: str
    """As it was asked for."""
    resolved: str
    """What the load stage reads: git:PATH@BASE..HEAD, or the source itself."""
    commits: ResolvedRange | None = None
    head: ReviewedHead | None = None
    """What a complete run remembers; None: nothing."""
    key: str = ""

    def lines(self) -> Iterator[str]:
        """Lines for the log; none of a source that is no repository."""
        if self.commits is not None:
            yield self.commits.sentence()
            if self.commits.note:
                yield self.commits.note

    def nothing(self, rows: int) -> str | None:
        """The result of a run without a row, in words; None: there was one, or it is no repository."""
        return None if rows or self.commits is None else self.commits.nothing()


def head_key(source: str, config: str, mode: str) -> str:
    """The key of a remembered head: a repository reviewed with other settings is another matter."""
    return f"{source_key(source)} {Path(config).resolve()} {mode}"


def resolved_now(source: str, config: str, settings: Settings) -> str:
    """The source of a run that started now; nothing is remembered of the question.

    Raises:
        SourceError, StateError: as `resolve_source`.
    """
    if not source.startswith(GIT_PREFIX):
        return source
    key = head_key(source, config, settings.mode)
    return resolve_git(source, read_head(resolve_state(settings.state), key)).source


def resolve_source(
    source: str, given: str | None, paths: RunPaths, run: Run, *, config: str, limit: int | None
) -> SourceRange:
    """Decide what SOURCE means in this run; `given` is what an earlier run decided.

    Raises:
        SourceError: a git source that cannot be resolved.
        StateError: the state cannot be used.
    """
    if not source.startswith(GIT_PREFIX):
        return SourceRange(source, source)
    key = head_key(source, config, run.settings.mode)
    is_last = parse_git_source(source).wanted == SINCE_LAST
    last = read_head(run.state, key) if is_last else None
    now = datetime.now(UTC).isoformat(timespec="seconds")
    taken = given or _of_flow_run() or _of_folder(paths, source) or source
    commits = resolve_git(taken, last)
    if limit is None:
        _pin(paths, source, commits.source)
        if is_last and last is None:
            write_head(run.state, key, ReviewedHead(commits.base, run.run_id, now))
    head = ReviewedHead(commits.head, run.run_id, now) if is_last and limit is None else None
    return SourceRange(source, commits.source, commits, head, key)


def move_on(taken: SourceRange, paths: RunPaths, run: Run, *, complete: bool) -> str | None:
    """Remember the head of a run that ended complete; returns what went wrong, which costs no outputs."""
    if not complete or taken.commits is None:
        return None
    paths.range_file.unlink(missing_ok=True)
    if taken.head is None:
        return None
    try:
        if moves_head(taken.commits, read_head(run.state, taken.key)):
            write_head(run.state, taken.key, taken.head)
    except StateError as error:
        return f"the next run reviews these commits again: {error}"
    return None


def _of_folder(paths: RunPaths, source: str) -> str | None:
    """The range of an earlier run into this folder that did not end complete.

    Of `since=TIME` its base only: the time moves on, and what came meanwhile is in no other run.
    """
    pinned = read_json(paths.range_file)
    wanted = parse_git_source(source).wanted
    if not isinstance(pinned, Mapping) or pinned.get("source") != source:
        return None
    resolved = str(pinned["resolved"])
    return resolved if wanted == SINCE_LAST else f"{resolved.rpartition('..')[0]}..HEAD"


def _pin(paths: RunPaths, source: str, resolved: str) -> None:
    if parse_git_source(source).wanted.startswith("since="):
        write_json(paths.range_file, {"source": source, _PARAMETER: resolved})
    if flow_run.id is None or not server_answers():
        return
    with suppress(Exception), get_client(sync_client=True) as client:
        found = client.read_flow_run(UUID(flow_run.id))
        client.update_flow_run(found.id, parameters={**found.parameters, _PARAMETER: resolved})


def _of_flow_run() -> str | None:
    """The range of an earlier attempt of this flow run; one in this process has the old parameters."""
    if flow_run.id is None or flow_run.run_count <= 1 or not server_answers():
        return None
    with suppress(Exception), get_client(sync_client=True) as client:
        found: Any = client.read_flow_run(UUID(flow_run.id)).parameters.get(_PARAMETER)
        return found or None
    return None
