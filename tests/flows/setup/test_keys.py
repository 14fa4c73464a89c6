"""Where keys come from: variables, files, commands; what each mistake says; and that none is shown."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.setup.keys import check_variables, resolve_key, resolve_keys
from tasks.core.errors import ConfigError
from tasks.core.settings import Settings, load_settings

TOKEN = "planted-token-0123456789"
SETTINGS = """
mode = "check"
[app_ids.a]
base_url = "http://127.0.0.1:1/v1"
quota = []
%s
[[check]]
name = "one"
model = "m"
"""


def settings(*lines: str) -> Settings:
    """A review.toml whose app_id has those lines."""
    return load_settings(SETTINGS % "\n".join(lines))


def command(code: str) -> str:
    """The line of an app_id whose key a Python one-liner prints."""
    return f"key = '''cmd:{sys.executable} -c \"{code}\"'''"


def mistake(read: Callable[[Settings], object], *lines: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(settings(*lines))
    assert TOKEN not in str(caught.value)
    return str(caught.value)


def test_a_key_from_each_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variable, file and command give the same key, without the line end that two of them have."""
    (tmp_path / "key").write_text(f"{TOKEN}\n")
    monkeypatch.setenv("KEY_A", f"{TOKEN}\n")
    places = ('key = "env:KEY_A"', f'key = "file:{tmp_path}/key"', command(f"print('{TOKEN}')"))
    for line in places:
        check_variables(settings(line))
        assert resolve_keys(settings(line))["a"].get_secret_value() == TOKEN


def test_a_command_has_no_shell() -> None:
    """What a shell would run or fill in is passed on as it is written."""
    line = "key = '''cmd:echo $HOME;id'''"
    assert resolve_keys(settings(line))["a"].get_secret_value() == "$HOME;id"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('key = "file:/nowhere/key"', "the file /nowhere/key cannot be read (No such file"),
        ('key = "cmd:no-such-command --x"', "there is no command 'no-such-command': install it"),
        (command("print()"), "is empty: set it to the key"),
        (command(f"print('Hello'); print('{TOKEN}')"), "it has to be the key alone, in one line"),
        (
            command(f"import sys; print('{TOKEN}'); sys.exit('no login for {TOKEN}')"),
            "ended with code 1: run it in a terminal. no login for ***",
        ),
    ],
)
def test_a_key_that_cannot_be_had(line: str, said: str) -> None:
    """File and command say what is wrong and what to do; what they print is not repeated."""
    message = mistake(resolve_keys, line)
    assert said in message
    assert message.startswith("app_ids.a.key: ")


def test_in_a_run_of_a_worker_the_remedy_is_its_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is exported in another shell does not reach the worker that is running."""
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "1")
    message = mistake(resolve_keys, 'key = "env:NO_SUCH_VARIABLE"')
    assert message.endswith("export NO_SUCH_VARIABLE=<the key>, and restart the worker with it")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (['key = "cmd:no-such-command"'], "app_ids.a.key: there is no command"),
        (['key = "file:/nowhere"'], "app_ids.a.key: the file /nowhere cannot be read"),
        (
            ['key = "env:HOME"', 'headers = { "api-key" = "env:NO_SUCH_VARIABLE" }'],
            "app_ids.a.headers.api-key: the variable NO_SUCH_VARIABLE is not set",
        ),
        (['key = "env:HOME"', 'ca_file = "/nowhere.pem"'], "app_ids.a.ca_file: /nowhere.pem"),
        (['key = "env:HOME"', f'ca_file = "{__file__}"'], "no certificate in PEM form"),
    ],
)
def test_what_is_free_to_see_is_told_before_the_run(lines: list[str], said: str) -> None:
    """Nothing is run and no server is asked, and yet the run does not begin."""
    assert said in mistake(check_variables, *lines)


def resolve_one(given: Settings) -> object:
    """What `nightly-review doctor` does with each app_id."""
    return resolve_key("a", given.app_ids["a"])


@pytest.mark.parametrize("read", [check_variables, resolve_keys, resolve_one])
@pytest.mark.parametrize("name", ["ALL_PROXY", "https_proxy"])
def test_a_socks_proxy_without_its_package(
    name: str, read: Callable[[Settings], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence with the remedy, instead of a traceback out of a client."""
    monkeypatch.setenv(name, "socks5://127.0.0.1:1080")
    message = mistake(read, 'key = "env:HOME"')
    assert f"{name.upper()} names a SOCKS proxy" in message
    assert "pip install socksio" in message


def test_the_log_masks_what_a_key_becomes(tmp_path: Path) -> None:
    """Key and secret header, and what they are after they were read anew; a plain header is shown."""
    key, header = tmp_path / "key", tmp_path / "header"
    key.write_text("first-key-0123456789")
    header.write_text("secret-header-0123456789")
    lines = [f'key = "file:{key}"', f'headers = {{ X-A = "file:{header}", X-Tenant = "blue" }}']
    handler, shown = logging.StreamHandler(), list[str]()
    handler.emit = lambda record: shown.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("test_keys")
    log.addHandler(handler)
    try:
        ring = resolve_keys(settings(*lines))
        key.write_text("second-key-0123456789")
        assert ring.refresh("a", ring.current("a"))
        said = "first-key-0123456789 second-key-0123456789 secret-header-0123456789 blue"
        log.warning(said)
    finally:
        log.removeHandler(handler)
    assert shown == ["*** *** *** blue"]
    assert ring.scrub(said) == shown[0]
    assert "key-0" not in repr(ring) + repr(ring.current("a"))
