"""Flow runs of shards whose process could not set their last state."""

from __future__ import annotations

from pathlib import Path

import pytest
from prefect import State, flow
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext

from flows.shards.flow_run_states import mark_crashed
from flows.shards.remote.flow_runs import begin_flow_run
from tasks.core.paths import ShardPaths


@pytest.mark.usefixtures("prefect_server")
def test_one_whose_id_was_not_left(tmp_path: Path) -> None:
    """A process that was told to stop as it began: what it had made is Crashed, another shard's is not."""

    @flow(persist_result=False)
    def run() -> list[State[object] | None]:
        context = FlowRunContext.get()
        assert context is not None
        assert context.flow_run is not None
        made = []
        for name in ("shard-000", "shard-001"):
            shard = ShardPaths(tmp_path / "out" / ".work" / "r" / name)
            shard.root.mkdir(parents=True)
            made.append(begin_flow_run(shard, str(context.flow_run.id), name))
            shard.flow_run.unlink()
        mark_crashed(ShardPaths(tmp_path / "out" / ".work" / "r" / "shard-000"), "it was stopped")
        with get_client(sync_client=True) as client:
            return [client.read_flow_run(one.id).state for one in made]

    assert [state.name for state in run() if state is not None] == ["Crashed", "Pending"]
