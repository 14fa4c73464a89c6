"""The main job: load -> shard -> review in processes -> merge -> write -> report.

Requires: a review.toml (see deployments/review.example.toml) and the keys that it refers to.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    # `python -m flows.bulk_review` is `nightly-review run`, whose help and errors do not wait for
    # Prefect, which takes a second to import; and a run uses that second for what it starts on the
    # other cores.
    from flows.cli.main import main

    sys.exit(main(["run", *sys.argv[1:]]))

import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from prefect import State, flow, get_run_logger
from prefect.states import Cancelled, Completed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from pydantic import Field

from flows.batches.fill import fill_journal
from flows.setup.canaries import judge_reviewers
from flows.setup.early_start import EarlyStart, taken_over
from flows.setup.fresh_start import forget_start
from flows.setup.manifest import remove_work, run_facts, upstream_facts
from flows.setup.opening import OpenRun, Wanted, open_run
from flows.setup.source_range import move_on
from flows.shards import fork_server
from flows.shards.supervisor import run_shards
from flows.ui.budget_watch import BudgetWatch
from flows.ui.cancel_watch import CancelWatch
from flows.ui.events import new_critical, output_written, reviewer_changed, run_ended, run_refused
from flows.ui.key_status import KeyStatusWatch
from flows.ui.limit_sync import LimitSync
from flows.ui.progress import Monitor, on_progress, stage
from flows.ui.run_display import (
    REFUSED,
    failed,
    name_detail,
    rename,
    run_name,
    state_message,
)
from tasks.core.cells import planned_cells
from tasks.core.errors import RunCancelled, StateError, UserError
from tasks.core.manifest import RunFacts, ended_well
from tasks.core.paths import ShardPaths
from tasks.deliver.task import deliver
from tasks.finished.verify import check_written
from tasks.load.task import load
from tasks.merge.task import merge
from tasks.report.quota_proof import quota_proof
from tasks.shard.task import shard
from tasks.write.task import write

__all__ = ["bulk_review"]

_STAGES: TaskRunner[Any] = ThreadPoolTaskRunner(max_workers=1)


@flow(name="bulk-review", flow_run_name=run_name, task_runner=_STAGES, persist_result=False)
def bulk_review(
    source: Annotated[str, Field(min_length=1)],
    *,
    config: Annotated[str, Field(min_length=1)] = "review.toml",
    output: str | None = None,
    limit: Annotated[int, Field(ge=1)] | None = None,
    fresh: bool = False,
    mode: Literal["as_configured", "check_and_review", "check"] = "as_configured",
    batch: Literal["as_configured", "always", "auto", "never"] = "as_configured",
    previous: str | None = None,
    resolved: str | None = None,
    overwrite: bool = False,
) -> State[Any]:
    """Review every input of SOURCE under the quotas of the pool, losing nothing.

    Args:
        source: A .jsonl, .json, .csv (also .gz) or .parquet file; a folder of .diff, .patch or
            source files; git:PATH@BASE..HEAD, git:PATH@since=last or git:PATH@since=24h for the files
            that changed in the repository at PATH: since=last means since the last run that ended
            complete (since also takes 7d, 2w or a date). Several repositories with blanks between them
            are one run: git:../shop@since=last git:../api@since=last.
        config: The review.toml to use. Relative paths, here and in it, start at the folder that the
            run works in; for a deployment that is the project root.
        output: Folder of the outputs, or a URL as s3://bucket/nightly, to which they are copied when
            they are whole; {run_id} in it is the run's own id. When left out: data/runs/{run_id}.
        limit: Take only the first so many rows.
        fresh: Ask every question anew instead of using journaled answers. A run that is retried or
            resumed does not ask again what it has asked since its first start.
        mode: check stops after the check models, check_and_review has the review model judge their
            comments, as_configured does as review.toml says.
        batch: Which calls go through the Batch API of app_ids with batch = true, at half price and
            within hours: always all, auto where there are many, as_configured as review.toml says.
        previous: Folder or URL of the run that tells new findings from recurring ones; when left out,
            the newest one of the same source beside the output folder.
        resolved: The commits that an earlier run of SOURCE reviewed, as git:PATH@BASE..HEAD, to review
            the same ones again. A run puts it here itself, for its retries.
        overwrite: Write into output also where it has other files, or a run of another source.
    """
    wanted = Wanted(
        *(source, config, output, limit, fresh, mode, batch, previous, resolved),
        overwrite=overwrite,
    )
    log, early = get_run_logger(), taken_over()
    if early is not None:
        early.log.follow(log)
    try:
        with (
            open_run(wanted, log) if early is None else nullcontext(early.opened) as opened,
            CancelWatch() as cancel,
        ):
            return _review(opened, early, cancel)
    except RunCancelled as error:
        return Cancelled(message=str(error))
    except (UserError, StateError) as error:
        rename("refused")
        run_refused(source, str(error))
        return failed(f"{REFUSED}{error}")


def _review(opened: OpenRun, early: EarlyStart | None, cancel: CancelWatch) -> State[Any]:
    log, run, settings = get_run_logger(), opened.run, opened.run.settings
    paths, taken, started = opened.paths, opened.taken, opened.started
    if early is None:
        stage(f"reading {taken.source}")
    loaded = opened.load(load, done=None if early is None else early.loaded)
    rename(f"{loaded.inputs:,} inputs")
    log.info("%s", loaded.sentence())

    done = None if early is None else early.shards
    shards = [ShardPaths(Path(one)) for one in shard(paths, opened.shards(loaded.inputs), done)]
    planned = planned_cells(settings.check_names, reviews=settings.reviews)
    each = len(planned) - len(settings.tool_check)
    log.info(
        "%d shards on %d processes, %d threads each", len(shards), settings.processes, run.threads
    )

    run, batches = fill_journal(
        run, paths, shards, loaded.inputs, log, started=started, look=cancel.raise_if_cancelled
    )
    calling = early is not None and early.calling
    if not calling:
        stage(f"reviewing {loaded.inputs:,} inputs in {len(shards):,} shards")
    watch = KeyStatusWatch(run, log)
    spent = BudgetWatch(run, log).look
    with (
        LimitSync(run, log) as sync,
        on_progress(watch.look),
        Monitor(
            shards,
            loaded.inputs + loaded.canaries,
            each,
            sync.least_seconds,
            watch,
            spent=spent,
            worked=time.time() - started if calling else 0.0,
        ),
    ):
        lost = run_shards(
            {one.root.name: str(one.root) for one in shards},
            settings.processes,
            cancel.raise_if_cancelled,
        )
    if lost:
        log.error("shards lost after retries: %s", "; ".join(lost))

    stage("merging and writing the outputs")
    merged = merge(
        paths.staged, [str(one.root) for one in shards], planned, loaded.inputs, opened.baseline
    )
    facts = {"run_id": run.run_id, "source": taken.source}
    # A run with workers has no fork server.
    apart = fork_server.call if settings.workers is None else None
    outputs = write(paths.staged, run.run_id, facts, apart)
    check_written(paths.staged, outputs)
    # pandas takes a second to import, and each shard's process imports this module as well.
    from tasks.outputs.findings import new_critical_titles  # noqa: PLC0415
    from tasks.report.task import report  # noqa: PLC0415

    stage("making the report")
    upstream = upstream_facts(run, merged, watch.met, watch.status)
    manifest = run_facts(
        run, taken, loaded, merged, upstream, started=started, limit=opened.limit, batches=batches
    )
    manifest["canaries"] = judge_reviewers(paths.staged, run, started, log)
    report(paths, manifest, outputs, quota_proof(run), apart and partial(apart, prepared=True))
    remove_work(paths)
    deliver(paths)
    if merged.counts.whole:
        forget_start(paths)
    if trouble := move_on(taken, paths, run, complete=ended_well(manifest) or merged.counts.whole):
        log.warning("%s", trouble)
    rename(taken.nothing(loaded.rows) or name_detail(manifest, merged.counts))
    log.info("%s; outputs: %s", manifest["result"], paths.place)
    output_written(manifest, paths, outputs)
    run_ended(manifest, paths)
    new_critical(manifest, paths, new_critical_titles(paths))
    reviewer_changed(manifest, paths)
    return _state(manifest)


def _state(manifest: RunFacts) -> State[Any]:
    message = state_message(manifest)
    return Completed(message=message) if ended_well(manifest) else failed(message)
