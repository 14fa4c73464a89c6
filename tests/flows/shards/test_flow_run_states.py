"""Flow runs of shards whose process could not set their last state."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import State, flow
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.settings import temporary_settings

from flows.shards.flow_run_states import mark_crashed, say_again
from flows.shards.remote.flow_runs import begin_flow_run
from tasks.core.paths import ShardPaths
from tests.runs import free_port

pytestmark = pytest.mark.usefixtures("prefect_server")


def _made(folder: Path, name: str) -> tuple[ShardPaths, UUID]:
    """A shard and its flow run, whose process was ended before it left the id."""
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    shard = ShardPaths(folder / "out" / ".work" / "r" / name)
    shard.root.mkdir(parents=True)
    made = begin_flow_run(shard, str(context.flow_run.id), name)
    shard.flow_run.unlink()
    return shard, made.id


def _states(ids: list[UUID]) -> list[State[Any] | None]:
    with get_client(sync_client=True) as client:
        return [client.read_flow_run(one).state for one in ids]


def test_one_whose_id_was_not_left(tmp_path: Path) -> None:
    """What the process had made is Crashed, and another shard's is not."""

    @flow(persist_result=False)
    def run() -> list[str]:
        (shard, lost), (_, other) = (_made(tmp_path, name) for name in ("shard-000", "shard-001"))
        mark_crashed(shard, "it was stopped")
        return [state.name or "" for state in _states([lost, other]) if state is not None]

    assert run() == ["Crashed", "Pending"]


def test_a_server_that_comes_back_hears_it_at_the_end(tmp_path: Path) -> None:
    """What it could not take while it was away is said again."""

    @flow(persist_result=False)
    def run() -> list[str]:
        shard, lost = _made(tmp_path, "shard-000")
        with temporary_settings({"api.url": f"http://127.0.0.1:{free_port()}/api"}):
            mark_crashed(shard, "it was stopped")
        before = _states([lost])
        say_again()
        return [state.name or "" for state in (*before, *_states([lost])) if state is not None]

    assert run() == ["Pending", "Crashed"]
