"""Processes from the fork server: told to stop at any moment, ended with the run, never by a thread's fork."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.shards import fork_server
from tests.conftest import Job, kill_group
from tests.runs import await_condition, fork_servers

_START = """
import _thread, os, signal, sys, threading, time
from functools import partial
from flows.shards import fork_server

forked = []
os.register_at_fork(before=lambda: forked.append(1))

def say(what):
    print(what, flush=True)

def wait(ready):
    open(ready, "w").close()
    time.sleep(600)

class Slow:
    "Takes for ever to be unpickled, which is before its process knows of any call."
    def __reduce__(self):
        return wait, (sys.argv[1],)
    def __call__(self):
        pass

def await_file(path):
    while not os.path.exists(path):
        time.sleep(0.01)
"""
_TOLD = """
say("once")
fork_server.fork_here()
process = fork_server.start(partial(say, "hello"), os.environ)
process.join(60)
say(process.exitcode)
process = fork_server.start(partial(sys.exit, 7), os.environ)
process.join(60)
say(process.exitcode)
say(len(fork_server.call(partial(bytes, 200_000))))
for wrong in (partial(int, "x"), os.sync, partial(signal.raise_signal, signal.SIGKILL)):
    try:
        fork_server.call(wrong)
    except Exception as error:
        say(type(error).__name__)
    else:
        say("fine")
process = fork_server.start(Slow(), os.environ)
await_file(sys.argv[1])
process.terminate()
process.join(20)
say(process.exitcode)
process.send_signal(signal.SIGKILL)
"""
_PREPARED = """
fork_server.fork_here()
fork_server.prepare_call(partial(say, "prepared"))
waiting = fork_server._prepared[0].pid
await_file(sys.argv[1])
say(fork_server.call(os.getpid) == waiting)
say(fork_server.call(os.getpid, prepared=True) == waiting)
say(fork_server.call(os.getpid, prepared=True) == waiting)
fork_server.prepare_call(partial(wait, sys.argv[1]))
fork_server._prepared[0].send_signal(signal.SIGKILL)
fork_server._prepared[0].join(20)
say(fork_server.call(partial(abs, -1), prepared=True))
fork_server.prepare_call(partial(say, "for nobody"))
say(f"{fork_server._prepared[0].pid}")
"""
_KILLED = """
fork_server.fork_here()
process = fork_server.start(partial(wait, sys.argv[1]), os.environ)
await_file(sys.argv[1])
say(f"{fork_server._running[0].pid} {process.pid}")
os.kill(os.getpid(), signal.SIGKILL)
"""
_FORK_SERVER_KILLED = """
say("and then")
process = fork_server.start(partial(wait, sys.argv[2]), os.environ)
await_file(sys.argv[2])
os.kill(fork_server._running[0].pid, signal.SIGKILL)
process.join(60)
say(process.exitcode)
began = _thread.allocate_lock()
began.acquire()
_thread.start_new_thread(lambda: (began.release(), time.sleep(600)), ())  # unknown to `threading`
began.acquire()
fork_server.fork_here()
process = fork_server.start(partial(print, "another", flush=True), os.environ)
process.join(60)
say(process.exitcode)
say(len(forked))
"""
_LOOK = """
import os, signal, sys

class Look:
    def find_spec(self, name, path, target=None):
        if name == "flows.bulk_review":
            print({signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)}, flush=True)
            os._exit(0)

sys.meta_path.insert(0, Look())
from flows.shards import fork_server
fork_server.fork_here()
os.waitpid(fork_server._running[0].pid, 0)
"""


def _run(program: str, folder: Path, *arguments: str) -> list[str]:
    script = folder / "program.py"
    script.write_text(program)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, str(script), *arguments]
    ended = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert "Traceback" not in ended.stderr
    return ended.stdout.splitlines()


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What a program says that tells its fork server this and that, and then kills it."""
    folder = tmp_path_factory.mktemp("fork-server")
    files = [str(folder / name) for name in ("ready", "again")]
    return _run(_START + _TOLD + _FORK_SERVER_KILLED, folder, *files)


def test_what_is_told(said: list[str]) -> None:
    """It runs what it is told and says how that ended, also if it is to stop before it knows what to do.

    What is asked for an answer returns it, raises here what it raised there, or says that it was killed.

    Forked from the process itself: nothing that was said before is repeated, its classes are known.
    """
    answers = ["200000", "ValueError", "fine", "StateError"]
    assert said[: said.index("and then")] == [
        "once",
        "hello",
        "0",
        "7",
        *answers,
        str(-signal.SIGTERM),
    ]


def test_a_call_that_was_prepared(tmp_path: Path) -> None:
    """Who waits for it answers it, once; one that was killed meanwhile is replaced, one too many leaves."""
    (tmp_path / "ready").touch()
    said = _run(_START + _PREPARED, tmp_path, str(tmp_path / "ready"))
    *told, left = [line for line in said if line != "for nobody"]
    assert told == ["prepared", "False", "True", "False", "1"]
    await_condition(lambda: not Path(f"/proc/{left}/cwd").is_symlink(), "it is gone", 30)


def test_a_killed_run_leaves_no_process(tmp_path: Path) -> None:
    """The fork server and what it has forked leave with it."""
    (said,) = _run(_START + _KILLED, tmp_path, str(tmp_path / "ready"))
    places = [Path(f"/proc/{pid}/cwd") for pid in said.split()]
    assert len(places) == 2
    await_condition(lambda: not any(map(Path.is_symlink, places)), "both are gone", 30)


def test_a_killed_fork_server_is_replaced(said: list[str]) -> None:
    """
    What it had forked leaves, with an exit code that nobody knows. The next one is not forked, because
    there is a thread by now: a lock that it holds would stay locked.
    """
    assert said[said.index("and then") + 1 :] == [
        str(fork_server.UNKNOWN_EXIT),
        "another",
        "0",
        "1",
    ]


def test_ctrl_c_while_it_imports(tmp_path: Path) -> None:
    """A traceback of the fork server would be all that the terminal shows of a run that was stopped."""
    assert _run(_LOOK, tmp_path) == [str({signal.SIG_IGN})]


def test_a_mistake_in_the_settings_starts_none(make_job: Callable[..., Job]) -> None:
    """The command ends at once, and nothing that imports for seconds holds its output open."""
    job = make_job("mode = 'of another kind'")
    process = job.start(job.folder / "inputs.jsonl")
    code = process.wait(60)
    left = fork_servers(process.pid)
    kill_group(process)
    process.communicate(timeout=60)
    assert (code, left) == (2, [])
