"""Processes from the fork server: told to stop at any moment, in any folder, and nothing is left of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Job, kill_group
from tests.runs import await_condition, children

_START = """
import os, signal, sys, time
from functools import partial
from flows.shards import fork_server

def wait(ready):
    open(ready, "w").close()
    signal.pause()

class Slow:
    "Takes for ever to be unpickled, which is before its process knows of any call."
    def __reduce__(self):
        return wait, (sys.argv[1],)
    def __call__(self):
        pass
"""
_HELLO = """
if __name__ == "__main__":
    process = fork_server.start(partial(print, "hello", flush=True), os.environ)
    process.join()
    print(process.exitcode)
"""
_STOP_EARLY = """
if __name__ == "__main__":
    process = fork_server.start(Slow(), os.environ)
    while not os.path.exists(sys.argv[1]):
        time.sleep(0.01)
    process.terminate()
    process.join(20)
    print(process.exitcode)
    process.kill()
"""
_KILLED = """
if __name__ == "__main__":
    fork_server.warm_up()
    print(len(os.listdir(os.environ["TMPDIR"])), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
_LOOK = """
import signal, sys

class Look:
    def find_spec(self, name, path, target=None):
        if name == "flows.bulk_review":
            print({signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)})
            sys.exit()

sys.meta_path.insert(0, Look())
import flows.shards.fork_server_preload
"""


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder for temporary files; the path of a socket has at most 107 characters."""
    with tempfile.TemporaryDirectory(prefix="n-") as folder:
        yield Path(folder)


def _run(program: str, folder: Path, *arguments: str, temporary: Path) -> list[str]:
    script = folder / "program.py"
    script.write_text(program)
    environment = os.environ | {
        "TMPDIR": str(temporary),
        "PYTHONPATH": str(Path(__file__).parents[3]),
    }
    command = [sys.executable, str(script), *arguments]
    ended = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert "Traceback" not in ended.stderr
    return ended.stdout.splitlines()


def test_a_temporary_folder_with_a_long_path(tmp_path: Path) -> None:
    """No socket fits into it: the process is started without a fork server."""
    temporary = tmp_path / ("x" * 100)
    temporary.mkdir()
    assert _run(_START + _HELLO, tmp_path, temporary=temporary) == ["hello", "0"]


def test_told_to_stop_before_it_knows_what_it_is(tmp_path: Path, short: Path) -> None:
    """The fork server ignores SIGTERM; what it forks does not, from its first moment."""
    ready = str(tmp_path / "ready")
    said = _run(_START + _STOP_EARLY, tmp_path, ready, temporary=short)
    assert said == [str(-signal.SIGTERM)]


def test_a_killed_run_leaves_no_socket(tmp_path: Path, short: Path) -> None:
    """The fork server removes its folder when the run did not live to do it."""
    assert _run(_START + _KILLED, tmp_path, temporary=short) == ["1"]
    await_condition(lambda: not list(short.iterdir()), "the folder is gone")


def test_ctrl_c_while_it_imports(tmp_path: Path) -> None:
    """A traceback of the fork server would be all that the terminal shows of a run that was stopped."""
    assert _run(_LOOK, tmp_path, temporary=tmp_path) == [str({signal.SIG_IGN})]


def test_a_mistake_in_the_settings_starts_none(make_job: Callable[..., Job]) -> None:
    """The command ends at once, and nothing that imports for seconds holds its output open."""
    job = make_job("mode = 'of another kind'")
    process = job.start(job.folder / "inputs.jsonl")
    code = process.wait(60)
    left = children(process.pid, "multiprocessing.forkserver")
    kill_group(process)
    process.communicate()
    assert (code, left) == (2, [])
