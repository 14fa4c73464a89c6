"""What the tests of whole runs share: inputs, settings, waiting, looking at processes."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from deployments.sandbox import Sandbox

__all__ = [
    "PASSING",
    "await_condition",
    "children",
    "config",
    "fork_servers",
    "free_port",
    "group_is_gone",
    "named",
    "numbered",
    "offspring",
    "shards",
    "whole",
    "working_in",
]

_LEFT_OUT = {
    "latency_ms", "first_token_ms", "queue_ms", "started_at", "trace_id", "request_id", "run_id",
    "app_id", "attempts", "journaled", "calls",
}  # fmt: skip
"""Times, ids, who paid and how often it was tried; nested calls are compared in calls.parquet."""


_KINDS = (
    "reset_before", "reset_after", "reset_mid", "hang", "stall", "truncated", "status_500",
    "status_502", "status_503", "status_529", "status_429", "wrong_type", "error_body",
    "empty_choices", "null_content", "broken_json", "prose", "fenced", "trailing_commas",
    "echo_key_500",
)  # fmt: skip
PASSING = dict.fromkeys(_KINDS, 0.2 / len(_KINDS))
"""20 % of mixed faults that a second attempt may get past."""


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def numbered(path: Path, count: int, note: str = "") -> Path:
    """A source of inputs that differ, so that each is a question of its own."""
    rows = [
        {"input_id": f"i{n:04}", "content": f"def f{n}(x):  # {note}\n    return x + {n}\n"}
        for n in range(count)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def config(
    sandbox: Sandbox | str, *, head: str = "", review: bool = False, processes: int = 2
) -> str:
    """Processes of six threads, two keys without a quota, two checks.

    One process is enough where shards are not the subject: each costs a second of CPU.
    """
    url = sandbox if isinstance(sandbox, str) else sandbox.base_url
    return f"""
mode = "{"check_and_review" if review else "check"}"
processes = {processes}
threads = 6
state = "state"
{head}
[app_ids.alpha]
key = "env:KEY_A"
base_url = "{url}"
quota = []
[app_ids.bravo]
key = "env:KEY_B"
base_url = "{url}"
quota = []
[[check]]
name = "one"
model = "check-1"
[[check]]
name = "two"
model = "check-2"
stream = true
[review]
model = "review-1"
"""


def await_condition(true: Callable[[], bool], what: str, seconds: float = 90) -> None:
    """Look every 20 ms until it holds."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain: {what}"
        time.sleep(0.02)


def _processes(group: int) -> Iterator[tuple[int, int, str, str]]:
    """Pid, parent, state and command line of each process of a group."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            command = (stat.parent / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if int(fields[2]) == group:
            yield int(stat.parent.name), int(fields[1]), fields[0], command


def named(*marks: str) -> list[int]:
    """Pids whose command line has all the marks, in whatever group."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            command = path.read_bytes().decode(errors="replace").split("\0")
            if set(marks) <= set(command):
                found.append(int(path.parent.name))
    return found


def working_in(folder: Path) -> list[int]:
    """Pids whose working directory it is: a run's processes, in whatever group."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cwd"):
        with suppress(OSError):
            if path.readlink() == folder:
                found.append(int(path.parent.name))
    return found


def group_is_gone(group: int) -> bool:
    """Whether no process of the group is left, zombies set aside."""
    return all(state == "Z" for _, _, state, _ in _processes(group))


def children(group: int, marker: str) -> list[int]:
    """Pids in the group whose command line has the marker."""
    return [pid for pid, *_, command in _processes(group) if marker in command]


def shards(group: int) -> list[int]:
    """Pids of the group's shards that are alive: what its fork server has forked."""
    return _called(group, "review-shard")


def fork_servers(group: int) -> list[int]:
    """Pids of the group's fork servers."""
    return _called(group, "fork-server")


def _called(group: int, name: str) -> list[int]:
    """Pids by the name that the processes give themselves."""
    found = []
    for pid, _, state, _ in _processes(group):
        with suppress(OSError):
            if state != "Z" and Path(f"/proc/{pid}/comm").read_text().strip() == name:
                found.append(pid)
    return found


def whole(output: Path) -> dict[str, Any]:
    """Every value of every output but for what differs between any two runs."""
    facts = json.loads((output / "manifest.json").read_text())
    tables = {name: _rows(output / f"{name}.parquet") for name in ("reviews", "comments", "calls")}
    document = json.loads((output / "reviews.json").read_text())
    return _ageless({"counts": facts["counts"], "reviews.json": document, **tables})


def _ageless(value: Any) -> Any:
    # Whether a finding is new depends on the runs before, not on this one.
    if isinstance(value, dict):
        return {name: _ageless(one) for name, one in value.items() if name not in {"age", "since"}}
    return [_ageless(one) for one in value] if isinstance(value, list) else value


def _rows(path: Path) -> list[dict[str, Any]]:
    table = pq.read_table(path)
    return list(table.select([n for n in table.column_names if n not in _LEFT_OUT]).to_pylist())


def offspring(parent: int) -> list[int]:
    """Pids that it has started and that are alive, and theirs, whatever session they are in."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent and fields[0] != "Z":
                found.append(int(stat.parent.name))
    return [*found, *(pid for child in found for pid in offspring(child))]
