"""A worker on the sandbox: everything that a shard's process has, but for Prefect."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from deployments.sandbox import Sandbox
from tasks.core.paths import RunPaths
from tasks.core.run import Run
from tasks.core.settings import load_settings
from tasks.infer.shard_worker import open_shard_worker
from tasks.load.rows import read_input

Review = dict[str, Any]


@pytest.fixture
def review_rows(sandbox: Sandbox, tmp_path: Path) -> Callable[..., list[Review]]:
    """Review rows with settings made of `config`, each time as a run of its own unless `run_id` says."""
    nights = count(1)

    def review(
        rows: Sequence[dict[str, Any]],
        config: str,
        threads: int = 4,
        run_id: str | None = None,
        *,
        url: str = sandbox.base_url,
        started: float = 0.0,
    ) -> list[Review]:
        paths = RunPaths(tmp_path / "run")
        shard = paths.shard(0)
        shard.root.mkdir(parents=True, exist_ok=True)
        for old in shard.root.glob("part-*"):
            old.unlink()
        lines = sorted((read_input(row) for row in rows), key=lambda one: one.input_id)
        shard.inputs.write_bytes(b"".join(orjson.dumps(one) + b"\n" for one in lines))
        pool = f'[app_ids.a]\nkey = "env:K"\nbase_url = "{url}"\nquota = []\n'
        settings = load_settings(config + pool)
        name, state = run_id or f"run-{next(nights)}", str(tmp_path / "state")
        Run(name, settings, state, threads, started=started).write(shard.settings)
        keys = {alias: SecretStr(f"key-{alias}") for alias in settings.app_ids}
        with open_shard_worker(shard, keys, logging.getLogger("test"), threading.Event()) as worker:
            worker.review_slice(0, worker.inputs)
        return [orjson.loads(line) for line in shard.part(0).read_bytes().splitlines()]

    return review
