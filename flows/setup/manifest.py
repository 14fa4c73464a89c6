"""The work folder of a run, and the facts of its manifest."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from prefect.runtime import flow_run

from flows.setup.source_range import SourceRange
from tasks.core.acceptance import Acceptance, accepted_gaps
from tasks.core.files import output_errors, private_folder
from tasks.core.locations import is_database
from tasks.core.manifest import RepositoryFacts, RunFacts
from tasks.core.paths import RunPaths
from tasks.core.run import Run
from tasks.core.state_folder import prepare_state_folder
from tasks.core.upstream_facts import BatchFacts, FailureFacts, HoldFacts, UpstreamFacts
from tasks.load.sources.git.repositories import name_repositories
from tasks.load.task import Loaded
from tasks.merge.baseline import source_key
from tasks.merge.sections import SectionCounts
from tasks.merge.task import Merged
from tasks.outputs.schemas import SCHEMA_VERSION
from tasks.review.prompts.team_rules import TeamRules
from tasks.upstream.batches.intents import Intent
from tasks.upstream.budget import read_budget
from tasks.upstream.calls.endpoint_status import read_endpoint_status
from tasks.upstream.journal import open_journal
from tasks.upstream.quota.key_status import QuotaStatus

__all__ = ["make_work", "remove_work", "run_facts", "upstream_facts", "with_last_words"]

_PACKAGES = ("nightly-review", "prefect", "openai", "httpx", "tiktoken", "pandas", "pyarrow")


def make_work(paths: RunPaths, run: Run) -> None:
    """Make an empty work folder with the run's settings for its processes.

    What an earlier, killed run left in it is removed: every paid answer is in the journal. That one
    is opened here for a moment, because a journal that cannot be used is better met before the
    first call than by every shard.

    Raises:
        OutputError: the output folder cannot be written.
        StateError: the state folder or its journal cannot be used, or its disk is full.
    """
    if not is_database(run.state):
        prepare_state_folder(Path(run.state), run.settings.state_mode)
    open_journal(run.journal).close()
    with output_errors(paths.work):
        shutil.rmtree(paths.all_work, ignore_errors=True)
        for folder in (paths.all_work, paths.work, paths.staged.root):
            private_folder(folder)
    run.write(paths.settings)


def run_facts(
    run: Run,
    taken: SourceRange,
    loaded: Loaded,
    merged: Merged,
    upstream: UpstreamFacts,
    *,
    started: float,
    limit: int | None,
    batches: Sequence[Intent] = (),
) -> RunFacts:
    """The facts of a merged run; the report stage adds figures and outputs to them."""
    counts, flow_run_id, commits = merged.counts, flow_run.id, taken.commits
    ending = _ending(run, taken, loaded, merged)
    return {
        "run_id": run.run_id,
        "result": ending.sentence,
        "complete": counts.whole,
        "accepted": ending.accepted,
        "source": taken.source,
        "source_resolved": taken.resolved,
        "commits": None if commits is None else commits.facts(),
        "repositories": repository_facts(taken, merged.sections),
        "source_key": source_key(taken.source),
        "limit": limit,
        "started_at": datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
        "seconds": round(time.time() - started, 3),
        "flow_run_id": flow_run_id,
        "flow_run_url": _page_of_run() if flow_run_id else None,
        "rejected": {"rows": loaded.rejected, "reasons": loaded.reasons},
        "counts": counts.as_dict(),
        "history": merged.history,
        "budget": [use.row() for use in read_budget(run.ledger, run.run_id, run.settings.budget)],
        "settings": run.settings.model_dump(mode="json"),
        "threads": run.threads,
        "fresh": run.fresh_since is not None,
        "prompt_version": TeamRules(run.settings, run.rules).version(),
        "rules": [{"rule": name, **asdict(use)} for name, use in loaded.rules.items()],  # type: ignore[typeddict-item]
        "schema_version": SCHEMA_VERSION,
        "packages": {name: version(name) for name in _PACKAGES},
        "upstream": upstream,
        "derived": {},
        "batches": [_batch_facts(one) for one in batches if one.batch_id],
    }


def _page_of_run() -> str | None:
    """The run's page in Prefect's UI; None: the server of a run of its own has none."""
    url = flow_run.ui_url
    return url if url and url.startswith("http") else None


def _batch_facts(one: Intent) -> BatchFacts:
    return {
        "batch_id": one.batch_id,
        "run_id": one.run_id,
        "app_id": one.app_id,
        "model": one.model,
        "state": one.said or one.state,
        "requests": one.requests,
        "answered": one.answered,
        "refused": one.refused,
        "late": bool(one.late),
        "created": datetime.fromtimestamp(one.created, UTC).isoformat(timespec="seconds"),
    }


def repository_facts(
    taken: SourceRange, sections: Mapping[str, SectionCounts]
) -> list[RepositoryFacts]:
    """What each of several repositories had under review, and what was found; none of a single source."""
    if len(taken.repositories) < 2:  # noqa: PLR2004
        return []
    names = name_repositories([one.source for one in taken.repositories])
    nothing = SectionCounts()
    return [
        {
            "repo": names[one.source],
            "source": one.source,
            "source_key": source_key(one.source),
            "commits": one.commits.facts(),
            **sections.get(names[one.source], nothing).facts(),
        }
        for one in taken.repositories
    ]


def _ending(run: Run, taken: SourceRange, loaded: Loaded, merged: Merged) -> Acceptance:
    if nothing := taken.nothing(loaded.rows):
        return Acceptance(accepted=True, sentence=f"complete: {nothing}")
    return accepted_gaps(run.settings.accept, merged.counts, loaded.rows, loaded.reasons)


def upstream_facts(
    run: Run, merged: Merged, met: list[HoldFacts], status: QuotaStatus
) -> UpstreamFacts:
    """What providers said and wanted during a merged run, as the report tells it."""
    settings = run.settings
    found = read_endpoint_status(run.ledger, run.run_id, settings.pool, settings.models)
    held = any(one["reason"] == "quota_held" for one in merged.failures)
    return {
        "failures": [with_last_words(one, found.closed) for one in merged.failures],
        "holds": met,
        "closed": [
            {"endpoint": url, "model": model, "said": said}
            for (url, model), said in found.closed.items()
        ],
        "adapted": {f"{model} at {url}": said for (url, model), said in found.adapted.items()},
        "goes_on_at": _goes_on_at(status) if held else None,
    }


def with_last_words(one: FailureFacts, closed: Mapping[tuple[str, str], str]) -> FailureFacts:
    """Of calls that were not sent, because their model is closed, what closed it."""
    said = closed.get((one["endpoint"] or "", one["model"] or ""))
    return {**one, "said": said} if said and one["reason"] == "refused_by_endpoint" else one


def _goes_on_at(status: QuotaStatus) -> str | None:
    """The first instant at which a held app_id may send again; None: none is held."""
    now = time.time()
    ends = [one.held_until for one in status.keys if one.held_until > now]
    if not ends:
        return None
    return datetime.fromtimestamp(min(ends), UTC).isoformat(timespec="seconds")


def remove_work(paths: RunPaths) -> None:
    """Remove what only the run itself needs."""
    shutil.rmtree(paths.all_work, ignore_errors=True)
    shutil.rmtree(paths.previous, ignore_errors=True)
