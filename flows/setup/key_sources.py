"""One reference of review.toml -> the secret that it names now: variable, Secret block, file, command."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import SecretStr

from tasks.core.errors import ConfigError
from tasks.upstream.calls.scrub import Scrubber

__all__ = ["check_reachable", "read_secret"]

_COMMAND_SECONDS = 60.0
_RUN_OF_A_WORKER = "PREFECT__FLOW_RUN_ID"
"""Variable that a worker gives to the process of a flow run."""
_STDERR = 300
"""Characters of what a command says of its failure."""


def read_secret(place: str, reference: str) -> SecretStr:
    """The value, stripped; `place` is the key of review.toml that messages name.

    Raises:
        ConfigError: there is none, or it is no single line; the message names the remedy.
    """
    kind, _, name = reference.partition(":")
    text = _READERS[kind](place, name).strip()
    if not text:
        msg = f"{place}: {_named(reference)} is empty: set it to the key"
        raise ConfigError(msg)
    if not text.isascii() or not text.isprintable():
        msg = (
            f"{place}: {_named(reference)} gives {len(text.splitlines())} lines or characters that no "
            "header can carry: it has to be the key alone, in one line of ASCII characters"
        )
        raise ConfigError(msg)
    return SecretStr(text)


def check_reachable(place: str, reference: str) -> None:
    """Check what costs nothing: variable and file are read, the command is there.

    Raises:
        ConfigError: it is not; Secret blocks need Prefect's server and are not looked at.
    """
    kind, _, name = reference.partition(":")
    if kind in {"env", "file"}:
        read_secret(place, reference)
    elif kind == "cmd" and shutil.which(shlex.split(name)[0]) is None:
        raise _no_command(place, name)


def _named(reference: str) -> str:
    return f"the output of {_program(reference[4:])}" if reference.startswith("cmd:") else reference


def _program(name: str) -> str:
    """The command without its arguments, in which somebody may have written a secret."""
    return f"`{shlex.split(name)[0]} ...`"


def _from_env(place: str, name: str) -> str:
    if name not in os.environ:
        worker = ", and restart the worker with it" if _RUN_OF_A_WORKER in os.environ else ""
        msg = f"{place}: the variable {name} is not set: export {name}=<the key>{worker}"
        raise ConfigError(msg)
    return os.environ[name]


def _from_file(place: str, name: str) -> str:
    try:
        return Path(name).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        msg = f"{place}: the file {name} cannot be read ({reason}): put the key there, alone"
        raise ConfigError(msg) from None


def _from_command(place: str, name: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - the user's own command, without a shell
            shlex.split(name),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_COMMAND_SECONDS,
            check=False,
        )
    except OSError:
        raise _no_command(place, name) from None
    except subprocess.TimeoutExpired:
        msg = (
            f"{place}: {_program(name)} did not end within {_COMMAND_SECONDS:g} s: run it in a terminal, it "
            "may ask something"
        )
        raise ConfigError(msg) from None
    output, said = (text.decode("utf-8", "replace").strip() for text in (done.stdout, done.stderr))
    if done.returncode:
        scrub = Scrubber(SecretStr(line) for line in output.split())
        why = scrub(" ".join(said.split()), _STDERR) or "it says nothing"
        msg = f"{place}: {_program(name)} ended with code {done.returncode}: run it in a terminal. {why}"
        raise ConfigError(msg)
    return output


def _no_command(place: str, name: str) -> ConfigError:
    program = shlex.split(name)[0]
    return ConfigError(
        f"{place}: there is no command {program!r}: install it, or name it by its whole path"
    )


def _from_block(place: str, name: str) -> str:
    from prefect.blocks.system import Secret  # noqa: PLC0415 - Prefect takes a second to import

    try:
        block = Secret.load(name, _sync=True)  # type: ignore[call-arg]
    except ValueError:
        msg = (
            f"{place}: there is no Prefect Secret block {name!r}: create it in the UI "
            "under Blocks, or with prefect.blocks.system.Secret(value=...).save(...)"
        )
        raise ConfigError(msg) from None
    return str(block.get())  # type: ignore[union-attr]


_READERS: Mapping[str, Callable[[str, str], str]] = {
    "env": _from_env,
    "file": _from_file,
    "cmd": _from_command,
    "secret": _from_block,
}
