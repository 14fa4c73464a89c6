"""The README is done as it says: its rehearsal, command by command, and its settings."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from deployments.sandbox import Sandbox
from flows.cli.main import main
from tasks.core.files import read_json
from tasks.core.settings import load_settings
from tests.conftest import Job, PrefectServer

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PORT = "127.0.0.1:8100"
"""Where the sandbox of the README listens."""

_APP = '[app_ids.k]\nkey = "env:K"\nbase_url = "https://host.test/v1"\nquota = []\n'
_CHECK = '[[check]]\nname = "one"\nmodel = "m"\n'
_REVIEW = '[review]\nmodel = "m"\n'
_PRICES = "".join(
    f'[prices."{name}"]\ninput = 1\noutput = 1\n' for name in ("m", "gpt-4.1-mini", "gpt-4o-mini")
)


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", README, re.DOTALL)


def rehearsal() -> list[list[str]]:
    """Arguments of the commands behind the one that starts the sandbox."""
    (block,) = (one for one in blocks("sh") if "SANDBOX_KEY" in one)
    commands = (shlex.split(line, comments=True) for line in block.splitlines())
    return [words[1:] for words in commands if words and words[0] == "nightly-review"]


def test_the_rehearsal_works_as_typed(
    sandbox: Sandbox,
    make_job: Callable[..., Job],
    prefect_server: PrefectServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Init, run, evaluate end with 0, one after the other; only the sandbox's port is another one."""
    folder = make_job("").folder
    (folder / "data").mkdir()
    (folder / "data" / "samples").symlink_to(ROOT / "data" / "samples")
    monkeypatch.chdir(folder)
    for name, value in {**prefect_server.environment, "SANDBOX_KEY": "any"}.items():
        monkeypatch.setenv(name, value)

    commands = rehearsal()
    assert [words[0] for words in commands] == ["init", "run", "evaluate"]
    for words in commands:
        moved = [
            word.replace(f"http://{PORT}/v1", sandbox.base_url).replace("6/10s", "600/10s")
            for word in words
        ]
        assert main(moved) == 0, capsys.readouterr()
    manifest = read_json(folder / "data" / "runs" / "rehearsal" / "manifest.json")
    assert manifest["complete"]
    assert "report.html" in capsys.readouterr().out


@pytest.mark.parametrize("block", blocks("toml"))
def test_its_settings_are_taken(block: str) -> None:
    """Each piece of review.toml that it shows, with what it leaves out."""
    head, tables = (block, "") if block.startswith("[[check") else (_CHECK, block)
    app = "" if "[app_ids" in block else _APP
    assert load_settings(f"{app}\n{head}\n{tables}\n{_REVIEW}\n{_PRICES}", "README.md").check


def test_the_sandbox_is_started_where_it_is_looked_for() -> None:
    """Its own default port is that of the commands."""
    (start,) = (one for one in blocks("sh") if "nightly-review sandbox" in one)
    assert "--port" not in start
    assert any(f"http://{PORT}/v1" in words for words in rehearsal())
