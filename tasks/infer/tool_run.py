"""One run of a program on files, without a shell: bounded in time, and without the keys of the run."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tasks.core.errors import ConfigError
from tasks.core.settings import Settings
from tasks.core.text_safety import ellipsize, storable

__all__ = ["FILES", "Ended", "find_program", "run_tool", "tool_commands", "tool_environment"]

FILES = "{files}"
_MOST_FILES = 200
"""Files in one command line."""
_MOST_BYTES = 64 * 2**20
"""Of what a program writes."""
_WORDS = 400


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended."""

    output: bytes
    words: str
    """The end of what it wrote beside its output, or its output where there is nothing else."""
    code: int | None
    """Exit code, negative for a signal; None: it took too long and was killed."""


def find_program(name: str) -> str:
    """The program of a command: on the PATH, beside this Python, or where the run starts.

    Raises:
        ConfigError: tool_not_found.
    """
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)])
    found = shutil.which(name, path=places)
    if found is None:
        msg = f"{name} is not there: install it where the shards run, or give its path"
        raise ConfigError(msg, code="tool_not_found")
    return str(Path(found).absolute())


def tool_commands(command: Sequence[str], files: Sequence[str]) -> Iterator[list[str]]:
    """`command` with the files in place of {files}, several times when there are many.

    Each begins with "./": no name can be taken for an option.
    """
    if FILES not in command:
        yield list(command)
        return
    named = [f"./{name}" for name in files]
    for first in range(0, len(named), _MOST_FILES):
        some = named[first : first + _MOST_FILES]
        yield [word for one in command for word in (some if one == FILES else [one])]


def tool_environment(settings: Settings) -> Mapping[str, str]:
    """The environment of this process without the variables that hold keys."""
    references = [
        text for app in settings.app_ids.values() for text in (app.key, *app.headers.values())
    ]
    secret = {text.removeprefix("env:") for text in references if text.startswith("env:")}
    return {name: value for name, value in os.environ.items() if name not in secret}


def run_tool(
    command: Sequence[str], folder: Path, timeout: float, environment: Mapping[str, str]
) -> Ended:
    """Run `command` in `folder` for at most `timeout` seconds; what it started ends with it.

    Raises:
        OSError: it cannot be started.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(  # noqa: S603 - the command is the user's own
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
        try:
            code = child.wait(timeout)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end(child)
        output.seek(0)
        written = output.read(_MOST_BYTES + 1)
        return Ended(written, _last_words(errors, written), code)


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill what is left of it, whatever has become of the first process."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _last_words(errors: IO[bytes], written: bytes) -> str:
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - 8 * _WORDS))
    said = errors.read().decode("utf-8", "replace").strip() or written[:_WORDS].decode(
        "utf-8", "replace"
    )
    return ellipsize(" ".join(storable(said).split()), _WORDS)
