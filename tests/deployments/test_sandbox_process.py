"""The sandbox as a process: start, stop, and no life without its parent."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployments.sandbox import start_sandbox
from flows.cli.main import main
from tasks.core.errors import ConfigError
from tests.processes import next_line, started

PARENT = """
import sys
from deployments.sandbox import start_sandbox
with start_sandbox() as sandbox:
    print(sandbox.pid, sandbox.base_url, flush=True)
    sys.stdin.read()
"""


def command_line(
    *arguments: str, **variables: str
) -> AbstractContextManager[subprocess.Popen[str]]:
    """The sandbox as a user starts it."""
    command = [sys.executable, "-m", "flows.cli.main", "sandbox", *arguments]
    return started(command, stderr=subprocess.PIPE, env={**os.environ, **variables})


def test_keys_are_not_in_the_process_list() -> None:
    """Settings with keys travel through a pipe, and the process ends with its block."""
    with start_sandbox(keys={"team-a": {"key": "sk-planted"}}, strict_keys=True) as sandbox:
        arguments = Path(f"/proc/{sandbox.pid}/cmdline").read_bytes()
        assert b"deployments.sandbox" in arguments
        assert b"sk-planted" not in arguments
        assert sandbox.control()["keys"]["team-a"]["key"] == "**********"
    with pytest.raises(ProcessLookupError):
        os.kill(sandbox.pid, 0)


def test_dies_with_its_parent() -> None:
    """A parent that is killed takes the sandbox along."""
    with started([sys.executable, "-c", PARENT], stdin=subprocess.PIPE) as parent:
        pid, base_url = next_line(parent).split()
        watched = os.pidfd_open(int(pid))
        with httpx.Client(base_url=base_url) as http:
            assert http.get("/models").status_code == 200
    ended, _, _ = select.select([watched], [], [], 10)
    os.close(watched)
    assert ended == [watched]


@pytest.mark.parametrize(
    ("config", "named"), [({"latency": "slow"}, "latency"), ({"qouta": "3/60s"}, "qouta")]
)
def test_wrong_settings_are_explained(config: dict[str, Any], named: str) -> None:
    """A sandbox that cannot start says why, in the parent."""
    with pytest.raises(ConfigError, match=named), start_sandbox(**config):
        pass


def test_a_taken_port_is_explained() -> None:
    """Two cannot listen on one port; the second says what to do."""
    with start_sandbox() as first:
        port = int(re.findall(r":(\d+)/", first.base_url)[0])
        with pytest.raises(ConfigError, match="choose another --port"), start_sandbox(port):
            pass


def test_command_line(tmp_path: Path) -> None:
    """Options, a file and a key from a variable; Ctrl-C prints the counts and nothing secret."""
    config = tmp_path / "sandbox.toml"
    config.write_text('quota = "9/1h"\nlatency = 5.0\n[models.mini]\nskill = "silent"\n')
    with command_line(
        "--port", "0", "--config", str(config), "--latency", "0", "--quota", "1/1h",
        "--key", "team-a=env:SANDBOX_TEST_KEY", "--strict", "--fault", "fenced",
        SANDBOX_TEST_KEY="sk-planted",
    ) as process:  # fmt: skip
        base_url = json.loads(next_line(process))["base_url"]
        headers = {"Authorization": "Bearer sk-planted"}
        body = {"model": "mini", "messages": [{"role": "user", "content": 'As "comments".'}]}
        with httpx.Client(base_url=base_url, headers=headers) as http:
            answers = [http.post("/chat/completions", json=body) for _ in range(2)]
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert [answer.status_code for answer in answers] == [200, 429]
    assert "```json" in answers[0].text
    counts = json.loads(output)
    assert (process.returncode, counts["requests"], counts["refused"]) == (0, 2, 1)
    assert counts["keys"]["team-a"]["windows"][0]["window"] == "1/3600s"
    assert "sk-planted" not in output + errors


@pytest.mark.timeout(60)  # a sandbox that took them would run for ever
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--quota", "3 per minute"], "3 per minute"),
        (["--fault", "gremlins=0.1"], "gremlins"),
        (["--profile", "nobody"], "nobody"),
        (["--key", "team-a=env:NOT_SET_ANYWHERE"], "NOT_SET_ANYWHERE"),
        (["--config", "no-such-file.toml"], "no-such-file.toml"),
    ],
)
def test_wrong_options(
    capsys: pytest.CaptureFixture[str], arguments: list[str], named: str
) -> None:
    """Exit code 2 and one line that names the culprit, not a traceback."""
    assert main(["sandbox", "--port", "0", *arguments]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ")
    assert named in error


def test_a_profile_from_the_command_line() -> None:
    """--profile is printed as part of the address, and its refusals are the provider's."""
    with command_line("--port", "0", "--profile", "gemini") as process:
        base_url = json.loads(next_line(process))["base_url"]
        assert base_url.endswith("/v1beta/openai")
        answer = httpx.post(f"{base_url}/chat/completions", json={"model": "m"})
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert (answer.status_code, answer.json()[0]["error"]["status"]) == (400, "INVALID_ARGUMENT")


def test_batch_seconds_and_a_file_are_merged(tmp_path: Path) -> None:
    """--batch-seconds and --batch-fault change their settings of [batch], and leave the others."""
    file = tmp_path / "sandbox.toml"
    file.write_text("[batch]\nprice = 0.25\nseconds = 9\n", "utf-8")
    options = ("--batch-seconds", "7", "--batch-fault", "bom")
    arguments = ("--port", "0", "--config", str(file), *options)
    with command_line(*arguments) as process:
        root = json.loads(next_line(process))["base_url"].removesuffix("/v1")
        settings = httpx.post(f"{root}/control", json={}).json()["batch"]
        process.terminate()
    assert (settings["seconds"], settings["price"]) == (7.0, 0.25)
    assert settings["script"][0]["fault"] == "bom"
