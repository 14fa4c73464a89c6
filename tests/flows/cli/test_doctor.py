"""`doctor` on a sandbox that refuses as a provider does, and the file that `init` writes."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from deployments.sandbox import Sandbox, start_sandbox
from flows.cli.doctor import _Checkup, _compare
from flows.cli.init import InitAnswers, settings_text
from flows.cli.main import main
from flows.setup.key_rules import names_block
from tasks.core.settings import load_settings
from tasks.doctor.sample_calls import SampleResult, least_wait, sample_calls
from tasks.upstream.journal import open_journal
from tests.conftest import Finished

KEYS = {"GOOD": "planted-good-41c7", "GONE": "planted-gone-9a20", "POOR": "planted-poor-77be"}
SANDBOX = {
    "strict_keys": True,
    "keys": {
        "good": {"key": KEYS["GOOD"], "quota": "5/1s"},
        "gone": {"key": KEYS["GONE"], "state": "revoked"},
        "poor": {"key": KEYS["POOR"], "state": "exhausted"},
    },
}
CONFIG = """
state = "state"
margin = 0.1
[app_ids.good]
key = "env:GOOD"
base_url = "{url}"
quota = "5/1s"
[app_ids.gone]
key = "env:GONE"
base_url = "{url}"
quota = []
models = ["gpt-4.1"]
[app_ids.poor]
key = "env:POOR"
base_url = "{url}"
models = ["gpt-4.1"]
quota = []
[[check]]
name = "strong"
model = "gpt-5"
[[check]]
name = "plain"
model = "gpt-4.1"
[[check]]
name = "streamed"
model = "gpt-4.1"
stream = true
[[check]]
name = "unknown"
model = "no-such-model"
[review]
model = "gpt-5"
[prices."gpt-5"]
input = 1
output = 10
"""


def typed(folder: Path, *arguments: str, **environment: str) -> Finished:
    """The command in a folder, without a Prefect server and with the keys."""
    out, err, earlier = io.StringIO(), io.StringIO(), dict(os.environ)
    os.environ.update(KEYS | environment)
    os.environ.pop("PREFECT_API_URL", None)
    try:
        with chdir(folder), redirect_stdout(out), redirect_stderr(err):
            code = main(arguments)
    finally:
        os.environ.clear()
        os.environ.update(earlier)
    return Finished(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def provider() -> Iterator[Sandbox]:
    """OpenAI's reasoning models, with one good key, one that was revoked and one without money."""
    with start_sandbox(profile="openai-reasoning", **SANDBOX) as server:
        yield server


@pytest.fixture(scope="module")
def folder(provider: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the settings are, and a source of two good rows and one without code."""
    folder = tmp_path_factory.mktemp("doctor")
    (folder / "review.toml").write_text(CONFIG.format(url=provider.base_url))
    rows = [{"content": "x = 1"}, {"content": "y = 2"}, {"content": ""}]
    (folder / "in.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


@pytest.fixture(scope="module")
def told(folder: Path) -> Finished:
    """One whole doctor's words, as JSON."""
    return typed(folder, "doctor", "in.jsonl", "--json")


@pytest.fixture(scope="module")
def facts(told: Finished) -> dict[str, Any]:
    """The same, read."""
    return dict(json.loads(told.out))


def by_call(facts: Mapping[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Calls by app_id and the first name that the model is called by."""
    return {(one["app_id"], one["names"][0]): one for one in facts["calls"]}


def test_every_app_id_is_asked_for_every_model_once_per_way(facts: dict[str, Any]) -> None:
    """A model that is called in two ways is asked in both; check and review of one way share one."""
    assert list(by_call(facts)) == [
        ("good", "strong"),
        ("good", "plain"),
        ("good", "streamed"),
        ("good", "unknown"),
        ("gone", "plain"),
        ("gone", "streamed"),
        ("poor", "plain"),
        ("poor", "streamed"),
    ]
    assert by_call(facts)["good", "strong"]["names"] == ["strong", "review"]


def test_what_is_taken_is_ok_and_what_is_changed_is_told(facts: dict[str, Any]) -> None:
    """The plain model takes all; the reasoning one is sent other parameters, which are named."""
    calls = by_call(facts)
    for name in ("plain", "streamed"):
        assert calls["good", name]["outcome"] == "ok"
        assert calls["good", name]["requests"] == 2
        assert calls["good", name]["message"] == ""
    assert calls["good", "streamed"]["first_token"] is not None
    adapted = calls["good", "strong"]
    assert adapted["outcome"] == "adapted"
    assert "max_tokens sent as max_completion_tokens" in adapted["adapted"]
    assert adapted["latency"] > 0


def test_a_refusal_is_told_in_the_words_of_the_provider(facts: dict[str, Any]) -> None:
    """An unknown model, a revoked key, an account without money: who refused what, and why."""
    calls = by_call(facts)
    for key, said in (
        (("good", "unknown"), "does not exist or you do not have access to it"),
        (("gone", "plain"), "API key"),
        (("poor", "plain"), "quota"),
    ):
        assert calls[key]["outcome"] == "refused", calls[key]
        assert said in calls[key]["message"]
        assert calls[key]["requests"] <= 2


def test_the_calls_are_paced_by_the_quota(facts: dict[str, Any], provider: Sandbox) -> None:
    """More calls than a window takes, and the provider never had to say so; its limit is compared."""
    sent = [row for row in provider.log() if row["key"] == "good"]
    assert len(sent) > 5
    assert {row["status"] for row in sent} <= {200, 400, 404}
    assert "good: its headers say 5 requests; quota says 5/1s" in {
        one["message"] for one in facts["checks"]
    }


def test_nothing_of_it_stays_in_the_journal(facts: dict[str, Any], folder: Path) -> None:
    """No run asks these questions again."""
    assert facts["calls"]
    with open_journal(folder / "state" / "journal.sqlite") as journal:
        assert journal.statistics()["rows"] == 0


def test_the_rest_is_checked_as_well(told: Finished, facts: dict[str, Any]) -> None:
    """Exit code 2 because of the refusals alone; what is open is noted; no key is shown anywhere."""
    assert told.code == 2
    assert not facts["ok"]
    assert {one["level"] for one in facts["checks"]} == {"ok", "note"}
    said = {(one["about"], one["message"]) for one in facts["checks"]}
    assert ("source", "in.jsonl: 2 inputs accepted, 1 rows rejected: 1 empty_content") in said
    assert any(about == "prices" and "none for gpt-4.1" in text for about, text in said)
    assert facts["estimate"]["loaded"]["inputs"] == 2
    assert not [key for key in KEYS.values() if key in told.out + told.err]


def test_without_calls_nothing_is_sent_and_a_missing_variable_is_a_problem(
    folder: Path, provider: Sandbox, facts: dict[str, Any]
) -> None:
    """Everything else is looked at; all lines fit a terminal of 80 columns."""
    assert facts["calls"]
    before = len(provider.log())
    told = typed(folder, "doctor", "in.jsonl", "--no-calls", GONE="")
    assert len(provider.log()) == before
    assert told.code == 2
    assert "problem  key        app_ids.gone.key: env:GONE is empty" in told.out
    assert "1 thing is wrong" in told.out
    assert "estimate for 2 inputs" in told.out
    assert max(map(len, told.out.splitlines())) <= 80
    assert typed(folder, "doctor", "--no-calls").code == 0


def test_a_table_shows_the_calls(folder: Path, provider: Sandbox) -> None:
    """One key, one model, in a terminal's width: the row, and the provider's words below it."""
    text = CONFIG.format(url=provider.base_url)
    one = text.replace('models = ["gpt-4.1"]', "models = []").replace('"5/1s"', '"9/1s"')
    (folder / "one.toml").write_text(one)
    told = typed(folder, "doctor", "--config", "one.toml")
    assert told.code == 2
    row = next(line for line in told.out.splitlines() if "no-such-model " in line)
    assert "refused" in row
    assert "good, no-such-model (refused):" in told.out
    assert max(map(len, told.out.splitlines())) <= 80
    assert "good, gpt-5, plain: adapted" in told.err


def test_headers_that_allow_fewer_than_the_quota_are_pointed_out() -> None:
    """Only then; the period is not in the headers, so it is a note."""
    settings = load_settings(CONFIG.format(url="http://127.0.0.1:1/v1"))
    for limit, pointed in ((4, True), (5, False)):
        result = SampleResult("good", "m", ("a",), False, "ok", allowed={"requests": limit})
        checkup = _Checkup(quiet=True)
        _compare(settings, [result], checkup)
        assert ("the headers allow fewer" in checkup.found[0].message) is pointed


def test_the_least_wait_follows_from_the_slowest_key() -> None:
    """Eight calls at five per 1.1 s need a second window; keys without a quota need none."""
    settings = load_settings(CONFIG.format(url="http://127.0.0.1:1/v1"))
    assert least_wait(sample_calls(settings), settings.margin) == pytest.approx(1.1)


FLAGS = ("--endpoint", "{url}", "--key", "GOOD", "--model", "gpt-4.1", "--quota", "5/1s")


def test_init_writes_a_file_that_doctor_finds_well(provider: Sandbox, tmp_path: Path) -> None:
    """Flags, the file, the calls: exit code 0; it is not written over without --force."""
    flags = [one.format(url=provider.base_url) for one in FLAGS]
    told = typed(tmp_path, "init", *flags)
    assert told.code == 0, told.out + told.err
    assert "nothing was found" in told.out
    assert "1 check model, gpt-4.1 reviews" in told.out
    written = (tmp_path / "review.toml").read_text()
    assert load_settings(written).app_ids["key-1"].quota == ("5/1s",)

    again = typed(tmp_path, "init", *flags, "--no-doctor")
    assert again.code == 2
    assert "--force" in again.err
    assert typed(tmp_path, "init", *flags, "--no-doctor", "--force").code == 0


@pytest.mark.parametrize(
    ("left_out", "instead", "said"),
    [
        ("--quota", (), "there is no terminal to ask in: give --quota"),
        ("--key", ("--key", "sk-pasted-secret"), "not the key itself"),
        ("--quota", ("--quota", "many"), '"many" is not a window'),
        ("--endpoint", ("--endpoint", "example.test"), 'must start with "http://"'),
        ("--model", ("--model", " , "), "names at least one model"),
    ],
)
def test_init_says_what_is_wrong_with_an_answer(
    left_out: str, instead: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    """Nothing is written, and a pasted key is not repeated."""
    at = FLAGS.index(left_out)
    flags = [one.format(url="http://127.0.0.1:1/v1") for one in FLAGS[:at] + FLAGS[at + 2 :]]
    told = typed(tmp_path, "init", *flags, *instead, "--no-doctor")
    assert told.code == 2
    assert said in told.err
    assert "sk-pasted" not in told.err
    assert not list(tmp_path.iterdir())


def test_init_asks_until_it_understands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a terminal, only what no flag says is asked for, and a wrong answer again."""
    typed_in = io.StringIO("http://127.0.0.1:1/v1\nmany\nnone\n")
    typed_in.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stdin", typed_in)
    monkeypatch.chdir(tmp_path)
    assert main(["init", "--key", "K", "--model", "a/b", "--model", "c/b", "--no-doctor"]) == 0
    settings = load_settings((tmp_path / "review.toml").read_text())
    assert settings.app_ids["key-1"].quota == ()
    assert [check.name for check in settings.check] == ["b", "b-2"]
    assert "is not a window" in capsys.readouterr().err


@pytest.mark.parametrize("model", ["review", 'a"b\\c', "модель", "-", "x" * 90])
def test_any_model_name_makes_a_file_that_can_be_read(model: str) -> None:
    """Names are quoted, and labels made of the letters that labels may have."""
    answers = InitAnswers("http://127.0.0.1:1/v1", "secret:block", (model, "other"), ())
    assert load_settings(settings_text(answers, "review.toml")).check[0].model == model


@pytest.mark.parametrize(
    ("source", "output", "said"),
    [
        ("git:.@since=24h", "out", "not in a git repository"),
        ("in.jsonl", "in.jsonl/out", "a part of the path is a file: choose another --output"),
        ("in.jsonl", "out", "state: "),
        (
            "none.jsonl",
            "out",
            "none.jsonl has no usable row; the first of 2: row 1: content is empty",
        ),
        ("in.jsonl", "out", "nowhere/manifest.json is missing or damaged"),
    ],
)
def test_run_tells_these_before_a_server_starts(
    source: str, output: str, said: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No repository, no row, no earlier run, an output or a state that cannot be: exit code 2 at once."""

    def start(*_: Any) -> None:
        pytest.fail("the server was started")

    monkeypatch.setattr("flows.ui.server.starting_server", start)
    text = (folder / "review.toml").read_text()
    (folder / "bad.toml").write_text(text.replace('"state"', '"in.jsonl/state"'))
    (folder / "none.jsonl").write_text('{"content": ""}\n{"content": " "}\n')
    config = "bad.toml" if said == "state: " else "review.toml"
    more = ["--previous", "nowhere"] if "nowhere" in said else []
    told = typed(folder, "run", source, "--config", config, "--output", output, *more)
    assert told.code == 2
    assert said in told.err


@pytest.mark.parametrize(
    ("lines", "needed"),
    [
        ('key = "secret:block"', True),
        ('key = "env:K"\nheaders = { api-key = "secret:block" }', True),
        ('key = "env:K"\nheaders = { X-Tenant = "blue" }', False),
    ],
)
def test_a_secret_block_needs_a_server(lines: str, *, needed: bool) -> None:
    """Whether a key or a header names one: only then does the doctor start Prefect's server."""
    app = f'[app_ids.a]\n{lines}\nbase_url = "http://h/v1"\nquota = []\n'
    settings = load_settings(f'mode = "check"\n[[check]]\nname = "one"\nmodel = "m"\n{app}')
    assert names_block(settings) == needed
