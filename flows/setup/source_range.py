"""
The commits that a run reviews: decided once, at its start, and the same for whoever repeats it.

    resolved     a git source -> git:PATH@BASE..HEAD, before the first row is read; of several each
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
from typing import Any, NamedTuple
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from tasks.core.errors import SourceError, StateError
from tasks.core.files import read_json, write_json
from tasks.core.git_source import GIT_PREFIX, SINCE_LAST, parse_git_source, split_sources
from tasks.core.locations import resolve_state
from tasks.core.paths import RunPaths
from tasks.core.run import Run
from tasks.core.settings import Settings
from tasks.load.reviewed_heads import ReviewedHead, read_head, write_head
from tasks.load.sources.git.resolve import ResolvedRange, moves_head, resolve_git
from tasks.merge.baseline import source_key
from tasks.report.server_health import server_answers

__all__ = [
    "RepositoryRange",
    "SourceRange",
    "head_key",
    "move_on",
    "resolve_source",
    "resolved_now",
]

_PARAMETER = "resolved"


class RepositoryRange(NamedTuple):
    """What a run reviews of one repository."""

    source: str
    """As it was asked for."""
    commits: ResolvedRange
    head: ReviewedHead | None
    """What a complete run remembers; None: nothing."""
    key: str
    """Under which the head is remembered."""


@dataclass(frozen=True, slots=True)
class SourceRange:
    """The source of a run: SOURCE itself, or the ranges that its repositories mean."""

    source: str
    """As it was asked for."""
    resolved: str
    """What the load stage reads: git:PATH@BASE..HEAD, several of them, or the source itself."""
    repositories: tuple[RepositoryRange, ...] = ()

    @property
    def commits(self) -> ResolvedRange | None:
        """The range of the only repository; None: there are several, or none."""
        return self.repositories[0].commits if len(self.repositories) == 1 else None

    def lines(self) -> Iterator[str]:
        """Lines for the log; none of a source that is no repository."""
        several = len(self.repositories) > 1
        for one in self.repositories:
            yield f"{one.source}: {one.commits.sentence()}" if several else one.commits.sentence()
            if one.commits.note:
                yield one.commits.note

    def nothing(self, rows: int) -> str | None:
        """The result of a run without a row, in words; None: there was one, or it is no repository."""
        if rows or not self.repositories:
            return None
        several = len(self.repositories)
        words = self.repositories[0].commits.nothing()
        return words if several == 1 else f"nothing changed in {several} repositories"


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
    state = resolve_state(settings.state)
    keys = ((one, head_key(one, config, settings.mode)) for one in split_sources(source))
    return " ".join(resolve_git(one, read_head(state, key)).source for one, key in keys)


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
    asked = split_sources(source)
    taken = split_sources(given or _of_flow_run() or _of_folder(paths, source) or source)
    if len(taken) != len(asked):
        msg = f"{source} has {len(asked)} repositories and {given} has {len(taken)}: leave resolved out"
        raise SourceError(msg)
    known = {one: head_key(one, config, run.settings.mode) for one in asked}
    heads = {
        one: read_head(run.state, key) if _is_last(one) else None for one, key in known.items()
    }
    ranges = [resolve_git(one, heads[at]) for one, at in zip(taken, asked, strict=True)]
    resolved = " ".join(one.source for one in ranges)
    if limit is None:
        _pin(paths, source, resolved)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    found = []
    for one, commits in zip(asked, ranges, strict=True):
        keeps = _is_last(one) and limit is None
        if keeps and heads[one] is None:
            write_head(run.state, known[one], ReviewedHead(commits.base, run.run_id, now))
        head = ReviewedHead(commits.head, run.run_id, now) if keeps else None
        found.append(RepositoryRange(one, commits, head, known[one]))
    return SourceRange(source, resolved, tuple(found))


def move_on(taken: SourceRange, paths: RunPaths, run: Run, *, complete: bool) -> str | None:
    """Remember the heads of a run that ended complete; returns what went wrong, which costs no outputs."""
    if not complete or not taken.repositories:
        return None
    paths.range_file.unlink(missing_ok=True)
    try:
        for one in taken.repositories:
            if one.head is not None and moves_head(one.commits, read_head(run.state, one.key)):
                write_head(run.state, one.key, one.head)
    except StateError as error:
        return f"the next run reviews these commits again: {error}"
    return None


def _is_last(source: str) -> bool:
    return parse_git_source(source).wanted == SINCE_LAST


def _of_folder(paths: RunPaths, source: str) -> str | None:
    """The range of an earlier run into this folder that did not end complete.

    Of `since=TIME` its base only: the time moves on, and what came meanwhile is in no other run.
    """
    pinned = read_json(paths.range_file)
    if not isinstance(pinned, Mapping) or pinned.get("source") != source:
        return None
    asked, resolved = split_sources(source), split_sources(str(pinned["resolved"]))
    if len(asked) != len(resolved):
        return None
    return " ".join(map(_again, asked, resolved))


def _again(asked: str, resolved: str) -> str:
    if parse_git_source(asked).wanted.startswith("since=") and not _is_last(asked):
        return f"{resolved.rpartition('..')[0]}..HEAD"
    return resolved


def _pin(paths: RunPaths, source: str, resolved: str) -> None:
    if any(parse_git_source(one).wanted.startswith("since=") for one in split_sources(source)):
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
