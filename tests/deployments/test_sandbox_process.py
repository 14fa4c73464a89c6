"""The sandbox as a process: start, stop, and no life without its parent."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployments.sandbox import start_sandbox
from tasks.core.errors import ConfigError

PARENT = """
import sys
from deployments.sandbox import start_sandbox
with start_sandbox() as sandbox:
    print(sandbox.pid, sandbox.base_url, flush=True)
    sys.stdin.read()
"""


def command_line(*arguments: str, **variables: str) -> subprocess.Popen[str]:
    """The sandbox as a user starts it."""
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli.main", "sandbox", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **variables},
    )


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
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with parent:
        assert parent.stdout is not None
        pid, base_url = parent.stdout.readline().split()
        watched = os.pidfd_open(int(pid))
        with httpx.Client(base_url=base_url) as http:
            assert http.get("/models").status_code == 200
        parent.kill()
    ended = subprocess.run(
        [sys.executable, "-c", f"import select; print(select.select([{watched}], [], [], 10)[0])"],
        pass_fds=[watched],
        capture_output=True,
        text=True,
        check=True,
    )
    os.close(watched)
    assert ended.stdout.strip() == f"[{watched}]"


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
    process = command_line(
        "--port", "0", "--config", str(config), "--latency", "0", "--quota", "1/1h",
        "--key", "team-a=env:SANDBOX_TEST_KEY", "--strict", "--fault", "fenced",
        SANDBOX_TEST_KEY="sk-planted",
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        base_url = json.loads(process.stdout.readline())["base_url"]
        headers = {"Authorization": "Bearer sk-planted"}
        body = {"model": "mini", "messages": [{"role": "user", "content": 'As "comments".'}]}
        with httpx.Client(base_url=base_url, headers=headers) as http:
            answers = [http.post("/chat/completions", json=body) for _ in range(2)]
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=10)
    assert [answer.status_code for answer in answers] == [200, 429]
    assert "```json" in answers[0].text
    counts = json.loads(output)
    assert (process.returncode, counts["requests"], counts["refused"]) == (0, 2, 1)
    assert counts["keys"]["team-a"]["windows"][0]["window"] == "1/3600s"
    assert "sk-planted" not in output + errors


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
def test_wrong_options(arguments: list[str], named: str) -> None:
    """Exit code 2 and one line that names the culprit, not a traceback."""
    with command_line("--port", "0", *arguments) as process:
        _, errors = process.communicate(timeout=10)
    assert process.returncode == 2
    assert named in errors
    assert "Traceback" not in errors


def test_a_profile_from_the_command_line() -> None:
    """--profile is printed as part of the address, and its refusals are the provider's."""
    with command_line("--port", "0", "--profile", "gemini") as process:
        assert process.stdout is not None
        base_url = json.loads(process.stdout.readline())["base_url"]
        assert base_url.endswith("/v1beta/openai")
        answer = httpx.post(f"{base_url}/chat/completions", json={"model": "m"})
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
    assert (answer.status_code, answer.json()[0]["error"]["status"]) == (400, "INVALID_ARGUMENT")


def test_batch_seconds_and_a_file_are_merged(tmp_path: Path) -> None:
    """--batch-seconds and --batch-fault change their settings of [batch], and leave the others."""
    file = tmp_path / "sandbox.toml"
    file.write_text("[batch]\nprice = 0.25\nseconds = 9\n", "utf-8")
    options = ("--batch-seconds", "7", "--batch-fault", "bom")
    arguments = ("--port", "0", "--config", str(file), *options)
    with command_line(*arguments) as process:
        assert process.stdout is not None
        root = json.loads(process.stdout.readline())["base_url"].removesuffix("/v1")
        settings = httpx.post(f"{root}/control", json={}).json()["batch"]
        process.terminate()
    assert (settings["seconds"], settings["price"]) == (7.0, 0.25)
    assert settings["script"][0]["fault"] == "bom"
