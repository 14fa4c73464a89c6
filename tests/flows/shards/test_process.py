"""The process of a shard: its environment, and its end when others are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from flows.shards import fork_server
from flows.shards.process import end_process
from tests.runs import await_condition


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_process_has_the_environment_of_its_start(tmp_path: Path) -> None:
    """What was exported after the fork server was started is there, and what was removed is not."""
    fork_server.warm_up()
    path = tmp_path / "said"
    environment = os.environ | {"NIGHT_LATER": "here", "NIGHT_FILE": str(path)}
    write = partial(os.system, 'echo "$NIGHT_LATER" > "$NIGHT_FILE"')
    process = fork_server.start(write, environment)
    process.join(60)
    assert process.exitcode == 0
    assert path.read_text() == "here\n"


def test_a_shard_is_ended_although_its_fork_server_was_killed() -> None:
    """The fork server alone knows how its children end; without it, they are killed to be sure."""
    process = fork_server.start(partial(time.sleep, 600), os.environ)
    pid = process.pid
    assert pid is not None
    os.kill(_parent(pid), signal.SIGKILL)
    await_condition(lambda: not process.is_alive(), "the fork server is gone", 30)
    end_process(process)
    await_condition(lambda: not _is_there(pid), "the shard is gone", 30)
    again = fork_server.start(partial(os.system, "true"), os.environ)
    again.join(60)
    assert again.exitcode == 0


def test_a_process_leaves_with_its_maker() -> None:
    """The spawner is killed with -9: what it had started in the fork server ends, and so does the fork server."""
    code = (
        "import os, time; from functools import partial; from flows.shards import fork_server\n"
        "print(fork_server.start(partial(time.sleep, 600), os.environ).pid, flush=True)\n"
        "time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as spawner:
        assert spawner.stdout is not None
        pid = int(spawner.stdout.readline())
        keeper = _parent(pid)
        spawner.kill()
    await_condition(lambda: not _is_there(pid) and not _is_there(keeper), "all gone", 30)
