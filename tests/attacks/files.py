"""Journal and ledger deleted, replaced, damaged and locked while calls are made under a quota."""

from __future__ import annotations

import fcntl
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

from pydantic import SecretStr

from deployments.sandbox import Sandbox, start_sandbox
from tasks.core.calls import Reply, Request
from tasks.core.errors import StateError
from tasks.core.quotas import AppId, Window
from tasks.upstream.calls.caller import open_caller
from tests.attacks.tally import Tally

__all__ = ["state_files"]

_LIMIT, _SECONDS = 4, 1.5
_CALLS = 32

Fault = Callable[[Path], None]
"""Something done to a folder with journal.sqlite and ledger.sqlite, after a quarter of the calls."""


def _removed(*names: str) -> Fault:
    def fault(folder: Path) -> None:
        for name in names:
            for path in folder.glob(name):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    return fault


def _written(name: str, data: bytes) -> Fault:
    return lambda folder: (folder / name).write_bytes(data) and None


def _halved(name: str) -> Fault:
    def fault(folder: Path) -> None:
        path = folder / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return fault


def _replaced(name: str) -> Fault:
    """An empty file of the same kind is moved there, as from a backup."""

    def fault(folder: Path) -> None:
        other = folder / "other.sqlite"
        other.write_bytes((folder / name).read_bytes())
        other.rename(folder / name)

    return fault


def _held(name: str) -> Fault:
    """Somebody has it for three windows."""

    def hold(path: Path) -> None:
        with path.open("rb+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            time.sleep(3 * _SECONDS)  # the length of the hold is the subject

    return lambda folder: threading.Thread(target=hold, args=(folder / name,)).start()


def _locked(name: str) -> Fault:
    """A shell has a transaction open for three windows."""

    def hold(path: Path) -> None:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as shell:
            shell.execute("BEGIN EXCLUSIVE")
            time.sleep(3 * _SECONDS)  # as above
            shell.execute("ROLLBACK")

    return lambda folder: threading.Thread(target=hold, args=(folder / name,)).start()


_FAULTS: dict[str, Fault] = {
    "no fault": lambda _: None,
    "ledger deleted": _removed("ledger.sqlite"),
    "ledger, log and index deleted": _removed("ledger.sqlite", "ledger.sqlite-*"),
    "all of the ledger deleted": _removed("ledger.sqlite*"),
    "ledger emptied": _written("ledger.sqlite", b""),
    "ledger halved": _halved("ledger.sqlite"),
    "ledger overwritten": _written("ledger.sqlite", b"\xa5" * 40_000),
    "ledger replaced by a copy": _replaced("ledger.sqlite"),
    "log of the ledger emptied": _written("ledger.sqlite-wal", b""),
    "log of the ledger overwritten": _written("ledger.sqlite-wal", b"\xa5" * 40_000),
    "lock file of the ledger deleted": _removed("ledger.sqlite.lock"),
    "owners of the ledger deleted": _removed("ledger.sqlite.owners"),
    "lock file of the ledger held": _held("ledger.sqlite.lock"),
    "ledger locked": _locked("ledger.sqlite"),
    "journal deleted": _removed("journal.sqlite"),
    "all of the journal deleted": _removed("journal.sqlite*"),
    "journal replaced by a copy": _replaced("journal.sqlite"),
    "log of the journal emptied": _written("journal.sqlite-wal", b""),
    "log of the journal deleted": _removed("journal.sqlite-wal"),
    "log of the journal halved": _halved("journal.sqlite-wal"),
    "log of the journal overwritten": _written("journal.sqlite-wal", b"\xa5" * 40_000),
    "lock file of the journal deleted": _removed("journal.sqlite.lock"),
    "journal locked": _locked("journal.sqlite"),
    "the folder emptied": _removed("*"),
}


def state_files(folder: Path) -> Tally:
    """Each fault under a quota of 4 in 1.5 s: no 429, and what was paid is in the journal afterwards.

    A run may end with the error that names the remedy; then the next one goes on.
    """
    tally = Tally()
    with start_sandbox() as sandbox, ThreadPoolExecutor(len(_FAULTS)) as threads:
        keys = {f"k{n}": {"key": f"attack-key-{n:02}"} for n in range(len(_FAULTS))}
        quota = f"{_LIMIT}/{_SECONDS}s"
        sandbox.control(keys={name: key | {"quota": [quota]} for name, key in keys.items()})
        work = [
            threads.submit(_under, sandbox, folder / f"{n}", n, fault)
            for n, fault in enumerate(_FAULTS.values())
        ]
        for name, done in zip(_FAULTS, work, strict=True):
            answered, kept = done.result(120)
            lost = answered - kept
            tally.note(f"{name}: {lost} answers lost", came_through=lost > 0)
            tally.note(f"{name}: {answered} of {_CALLS}", came_through=answered < _CALLS)
        seen = sandbox.stats()
        for n, name in enumerate(_FAULTS):
            refused = seen["keys"][f"k{n}"]["refused"]
            tally.note(f"{name}: {refused} times 429", came_through=refused > 0)
    return tally


def _under(sandbox: Sandbox, folder: Path, number: int, fault: Fault) -> tuple[int, int]:
    """Calls that were answered in the end, and those of them that are in the journal."""
    folder.mkdir()
    answered: set[str] = set()
    for _ in range(3):  # a run that ends is started again
        with suppress(StateError):
            _run(sandbox, folder, number, answered, fault if not answered else None)
    with _caller(sandbox, folder, number) as caller:
        kept = caller.journal.statistics()["rows"]
    return len(answered), kept


def _caller(sandbox: Sandbox, folder: Path, number: int):  # noqa: ANN202 - a context manager
    app = AppId(f"k{number}", sandbox.base_url, windows=(Window(_LIMIT, _SECONDS),))
    return open_caller(
        [app], keys={app.alias: SecretStr(f"attack-key-{number:02}")},
        journal=folder / "journal.sqlite", ledger=folder / "ledger.sqlite", margin=0.2,
    )  # fmt: skip


def _run(
    sandbox: Sandbox, folder: Path, number: int, answered: set[str], fault: Fault | None
) -> None:
    todo = [f"question {n}" for n in range(_CALLS) if f"question {n}" not in answered]
    with _caller(sandbox, folder, number) as caller, ThreadPoolExecutor(4) as threads:

        def ask(text: str) -> Reply:
            return caller.call(Request("m", ({"role": "user", "content": text},)))

        for at in range(0, len(todo), 4):
            if at == _CALLS // 4 and fault is not None:
                fault(folder)
            asked = {text: threads.submit(ask, text) for text in todo[at : at + 4]}
            for text, done in asked.items():
                done.result(120)
                answered.add(text)
