"""Keys that are told apart by their text, and everything a run leaves, searched for them."""

from __future__ import annotations

import os
import signal
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from deployments.sandbox import Sandbox
from tests.conftest import KEYS, Job, PrefectServer
from tests.runs import await_condition, children, config, numbered, shards

MakeJob = Callable[..., Job]

_SQLITE = b"SQLite format 3\0"


def readable(path: Path) -> Iterator[bytes]:
    """The bytes of a file, and what they hold packed: tables, database rows, zlib."""
    data = path.read_bytes()
    yield data
    if path.suffix == ".parquet":
        yield repr(pq.read_table(path).to_pylist()).encode()
        yield repr(pq.read_schema(path).metadata).encode()
    if data.startswith(_SQLITE):
        yield from _cells(path)


def _cells(path: Path) -> Iterator[bytes]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            for row in database.execute(f'SELECT * FROM "{table}"'):
                yield repr(row).encode()
                yield from (_unpacked(value) for value in row if isinstance(value, bytes))


def _unpacked(value: bytes) -> bytes:
    try:
        return zlib.decompress(value)
    except zlib.error:
        return value


def leaks(*folders: Path) -> list[str]:
    """Files with a key in them, or with enough of one to guess the rest."""
    marks = [key[:20].encode() for key in KEYS.values()]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 10
    return [
        str(path)
        for path in files
        if any(mark in text for text in readable(path) for mark in marks)
    ]


def test_the_search_finds_a_planted_key(tmp_path: Path) -> None:
    """In plain text, in a packed column and in a packed row of a database."""
    key = KEYS["KEY_A"]
    for number in range(20):
        (tmp_path / f"{number}.txt").write_text("nothing")
    assert leaks(tmp_path) == []
    (tmp_path / "a.log").write_text(f"Bearer {key}")
    pq.write_table(pa.table({"x": [key * 50]}), tmp_path / "b.parquet", compression="zstd")
    with closing(sqlite3.connect(tmp_path / "c.sqlite")) as database, database:
        database.execute("CREATE TABLE t (body BLOB)")
        database.execute("INSERT INTO t VALUES (?)", (zlib.compress(key.encode() * 9),))
    assert len(leaks(tmp_path)) == 3


def arguments(group: int) -> str:
    """Command lines of all processes, those of the group at least."""
    assert children(group, "python")
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().decode(errors="replace"))
        except OSError:
            continue
    return "\n".join(lines)


def test_no_key_is_left_anywhere(
    sandbox: Sandbox, make_job: MakeJob, prefect_server: PrefectServer, tmp_path: Path
) -> None:
    """
    Keys are echoed by the server in 401 and 500, a shard is killed, the last key is refused, the
    configuration is wrong: no key in output, work folder, state, Prefect's home, arguments, terminal.
    """
    known = {
        "alpha": {"key": KEYS["KEY_A"]},
        "bravo": {"key": KEYS["KEY_B"]},
    }
    echo = [{"fault": "echo_key", "key": "bravo", "nth": None, "times": 1}]
    sandbox.control(keys=known, script=echo, faults={"echo_key_500": 0.3}, latency=0.2)
    job = make_job(config(sandbox, head="give_up_after = 5"))
    process = job.start(numbered(tmp_path / "inputs.jsonl", 60))
    await_condition(lambda: sandbox.stats()["requests"] >= 30, "first calls")
    shown = arguments(process.pid)
    os.kill(shards(process.pid)[0], signal.SIGKILL)
    await_condition(lambda: sandbox.stats()["requests"] >= 60, "more calls")
    # From here on every key is refused with an echo of itself.
    sandbox.control(faults={"echo_key": 1.0}, script=[])
    said, complained = process.communicate(timeout=180)
    assert process.returncode == 3, complained
    assert sandbox.stats()["faults"].keys() >= {"echo_key", "echo_key_500"}

    pasted = make_job(config(sandbox).replace("env:KEY_A", KEYS["KEY_A"]))
    wrong = pasted.command(tmp_path / "inputs.jsonl", output=tmp_path / "job" / "wrong")
    assert wrong.code == 2
    (pasted.folder / "review.toml").unlink()

    texts = f"{said}\n{complained}\n{shown}\n{wrong.out}\n{wrong.err}"
    for key in KEYS.values():
        assert key not in texts
        assert key[:20] not in texts
    assert leaks(job.folder, prefect_server.home) == []
