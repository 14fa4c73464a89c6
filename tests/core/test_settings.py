from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.core.app_id_settings import AppIdSettings
from tasks.core.calls import Request, Usage
from tasks.core.check_settings import CheckSettings, ToolSettings
from tasks.core.errors import ConfigError
from tasks.core.prices import Price
from tasks.core.quotas import Window, parse_window
from tasks.core.settings import Settings, load_settings
from tasks.upstream.calls.completion import body_of
from tests.factories import STRICT

EXAMPLE = Path(__file__).parents[2] / "deployments" / "review.example.toml"

MINIMAL = """
mode = "check"
[app_ids.a]
key = "env:KEY_A"
base_url = "http://127.0.0.1:1/v1/"
quota = []
[[check]]
name = "one"
model = "m"
"""


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(text, "my.toml")
    return str(caught.value)


def test_the_shipped_example_is_valid() -> None:
    """A newcomer copies a file that works."""
    settings = load_settings(EXAMPLE.read_text())
    assert settings.pool[0].windows == (Window(3, 60.0),)


def test_the_example_names_every_setting() -> None:
    """Nothing that can be set is missing from the commented example."""
    text = EXAMPLE.read_text()
    tables = (Settings, AppIdSettings, CheckSettings, ToolSettings)
    names = {name for table in tables for name in table.model_fields} - {"tool_check"}
    missing = [name for name in names if name not in text]
    assert not missing


TOOL = '[[check]]\nname = "ruff"\ncommand = ["ruff", "{files}"]\n'


def test_a_check_may_be_a_tool() -> None:
    """It stands among the checks, needs no model, and comes back from a stored run as it was."""
    settings = load_settings(MINIMAL + TOOL)
    assert settings.check_names == ["one", "ruff"]
    assert settings.models == ("m",)
    assert Settings.model_validate(settings.model_dump(mode="json")) == settings
    alone = load_settings(MINIMAL.replace('[[check]]\nname = "one"\nmodel = "m"\n', TOOL))
    assert (alone.check_names, alone.models) == (["ruff"], ())


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('model = "m"', "check that is a tool.0.model: a check that is a tool has no model"),
        ('sarif = "x"', "either command"),
        ("timout = 3", "did you mean timeout?"),
        ('severities = { F = "awful" }', "severities.F"),
        ("timeout = 0", "timeout"),
        ('include = ["!"]', "is no pattern"),
    ],
)
def test_each_mistake_of_a_tool_is_named(more: str, said: str) -> None:
    """A check that is a tool has its own keys, and says which one is wrong."""
    assert said in refusal(f"{MINIMAL}{TOOL}{more}\n")


def test_two_checks_of_one_name_are_refused_whatever_they_are() -> None:
    """A tool's name is a column value like a model's."""
    assert "two checks are named" in refusal(MINIMAL + TOOL.replace("ruff", "one", 1))


def test_minimal_file_gets_defaults() -> None:
    """Two tables are enough; the rest has safe defaults."""
    settings = load_settings(MINIMAL)
    assert (settings.margin, settings.processes) == (0.4, 2)
    assert settings.app_ids["a"].base_url == "http://127.0.0.1:1/v1"
    assert settings.pool[0].windows == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("mode =", "modus ="), "modus: unknown key"),
        (('model = "m"', 'modell = "m"'), "modell: unknown key"),
        (('key = "env:KEY_A"', 'key = "sk-pasted-secret"'), "not the key itself"),
        (('key = "env:KEY_A"', ""), "app_ids.a.key: is missing"),
        (("quota = []", ""), 'app_ids.a.quota: is missing; say quota = ["3/60s"], or [] for no'),
        (("quota = []", 'tokens = "9/1s"'), "app_ids.a.quota: is missing"),
        (("quota = []", 'quota = ["3 per minute"]'), "is not a window"),
        (("quota = []", 'quota = ["0/60s"]'), "allows nothing"),
        (('key = "env:KEY_A"', 'key = "env:KEY_A"\nmodels = ["other"]'), "no app_id serves 'm'"),
        (
            (
                "quota = []\n[[check]]",
                'quota = []\nmodels = ["m"]\n[[check]]\nfallback = ["other"]',
            ),
            "no app_id serves 'other'",
        ),
        (("http://127", "ftp://127"), 'must start with "http://"'),
        (('"check"', '"check_and_review"'), "needs a [review] table"),
        (("[app_ids.a]", '[app_ids."a b"]'), "an alias is letters"),
        (("[[check]]", '[[check]]\nname = "one"\nmodel = "m"\n[[check]]'), "two checks are named"),
        (("mode", "processes = 0\nmode"), "processes"),
        (("quota = []", "quota = 3"), 'must be windows as ["3/60s"]'),
        (("quota = []", "quota = [3, 60]"), "must be windows as"),
        (("quota = []", "quota = true"), "[] is no limit"),
        (("base_url", "baseurl"), "app_ids.a.baseurl: unknown key; did you mean base_url?"),
        (('name = "one"', 'name = "one"\ntemprature = 1'), "did you mean temperature?"),
        (('name = "one"', 'name = "one"\nstate = "x"'), "move it above the first [table]"),
        (("mode", "min_score = 3\nmode"), "it belongs in [policy]"),
        (("mode", "colour = 3\nmode"), "see deployments/review.example.toml"),
        (("[[check]]", "[check]"), "write [[check]], with two brackets"),
        (("[app_ids.a]", "[app_ids]"), "write [app_ids.<alias>]"),
        (("[[check]]", '[[review]]\nmodel = "m"\n[[check]]'), "write [review], with one bracket"),
        (('[[check]]\nname = "one"\nmodel = "m"', ""), "check: is missing; add a table [[check]]"),
        (("mode", "= broken"), "my.toml is not valid TOML"),
    ],
)
def test_each_mistake_is_named(change: tuple[str, str], said: str) -> None:
    """A wrong file says which key is wrong and what to do, and never shows a pasted key."""
    message = refusal(MINIMAL.replace(*change, 1))
    assert said in message
    assert "my.toml" in message
    assert "sk-pasted-secret" not in message


def test_an_empty_pool_is_refused() -> None:
    """Without an app_id there is nothing to run."""
    assert "the pool is empty" in refusal(
        'app_ids = {}\nmode="check"\n[[check]]\nname="a"\nmodel="m"'
    )


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("3/60s", Window(3, 60)),
        ("500/1m", Window(500, 60)),
        ("10/s", Window(10, 1)),
        (" 2 / 1.5 s ", Window(2, 1.5)),
        ("5/250ms", Window(5, 0.25)),
        ("10000/d", Window(10000, 86400)),
    ],
)
def test_windows_in_their_usual_spellings(text: str, window: Window) -> None:
    """Limits read the way providers write them."""
    assert parse_window(text) == window


WORKERS = """
state = "postgresql://review@db/review"
[workers]
scheduler = "tls://head.example.test:8786"
""" + MINIMAL.replace('mode = "check"\n', "")


def test_workers_need_a_scheduler_and_little_else() -> None:
    """Its address is the one that the workers were given."""
    workers = load_settings('mode = "check"\n' + WORKERS).workers
    assert workers is not None
    assert workers.scheduler == "tls://head.example.test:8786"
    assert workers.scheduler_patience == 300


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("postgresql://review@db/review", "data/state"), "set state to a database"),
        (("tls://", ""), "workers.scheduler"),
        (("tls://", "tls://me:planted-pass@"), "workers.scheduler"),
        ((":8786", ""), "workers.scheduler"),
        (("scheduler =", 'storage = "s3://bucket"\nscheduler ='), "workers.storage: unknown key"),
    ],
)
def test_workers_that_could_not_work(change: tuple[str, str], said: str) -> None:
    """Each message says where to look and what to write instead, and repeats no password."""
    message = refusal('mode = "check"\n' + WORKERS.replace(*change))
    assert said in message
    assert "planted-pass" not in message


def test_no_check_is_named_like_the_review_stage() -> None:
    """A check called "review" would vanish among the reviews of every output."""
    with pytest.raises(ConfigError, match="rename it"):
        load_settings(
            '[[check]]\nname = "review"\nmodel = "m"\n'
            '[app_ids.a]\nkey = "env:K"\nbase_url = "http://h/v1"\nquota = []\n'
        )


def test_extra_wins_and_omit_leaves_out() -> None:
    """`extra` is what the user says of a field; a field in `omit` is None, which is never sent."""
    check = CheckSettings(
        name="a", model="m", extra={"temperature": 1}, omit=("max_tokens", "stream_options")
    )
    assert check.params() == {"temperature": 1, "max_tokens": None, "stream_options": None}
    body = body_of(Request("m", (), check.params(), stream=True))
    assert body == {"model": "m", "messages": (), "temperature": 1, "stream": True}


@pytest.mark.parametrize(
    "url",
    [
        "https://user:planted-secret@host/v1",
        "https://planted-secret@host/v1",
        "https://host/v1?key=planted-secret",
        "https://host/v1?api-version=1&API_KEY=planted-secret",
    ],
)
def test_an_endpoint_with_a_password_is_refused(url: str) -> None:
    """It would be stored with every run; the message names the remedy and does not repeat it."""
    with pytest.raises(ConfigError, match="must not hold a password or key") as caught:
        load_settings(MINIMAL.replace("http://127.0.0.1:1/v1/", url), "review.toml")
    assert "planted-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('headers = { Authorization = "env:K" }', "Authorization is made of key"),
        ('headers = { host = "a" }', "host is set by each request itself"),
        ('headers = { Content-Length = "1" }', "Content-Length is set by each request itself"),
        ('headers = { "bad name" = "1" }', "is no name of a header"),
        ('headers = { X-Note = "a\\nb" }', "X-Note must be one line of ASCII characters"),
        ('headers = { "api-key" = "sk-pasted-secret" }', "api-key must not hold a secret itself"),
        (
            'headers = { X-Note = "Bearer sk-pasted-secret" }',
            "X-Note must not hold a secret itself",
        ),
        ('headers = { "api-key" = "env:" }', 'must be "env:VARIABLE"'),
        ('auth_header = "Host"', "Host is set by each request itself"),
        ('auth_header = "x-k"\nheaders = { X-K = "1" }', "both auth_header and one of headers"),
        ('query = { "api-key" = "sk-pasted-secret" }', "query: api-key must not hold a key"),
        ('query = { code = "abc" }', "query: code must not hold a key"),
        ('query = { user = "sk-pasted-secret" }', "query: user must not hold a key"),
        ('chat_path = "openai/chat"', "chat_path: must be a path as"),
        ('chat_path = "/chat?api-version=1"', 'goes into query = { "api-version"'),
        ('chat_path = "/{deployment}/chat"', "chat_path: must be a path as"),
        ('key_max_age = "45"', '"45" is not a duration'),
        ('key = "cmd:tool \'x"', "close its quotation marks"),
    ],
)
def test_what_an_endpoint_cannot_have(line: str, said: str) -> None:
    """Headers, query, path and key that would not work or would be stored: each with its remedy."""
    before = 'key = "env:KEY_A"\n'
    message = refusal(
        MINIMAL.replace(before, line + "\n" if line.startswith("key =") else before + line + "\n")
    )
    assert said in message
    assert "app_ids.a" in message
    assert "sk-pasted-secret" not in message


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://h/openai?api-version=1", 'set query = { "api-version" = "..." } beside it'),
        ("https://h/v1/chat/completions", "must end before /chat/completions, which is added"),
        ("https://h/v1/chat/completions/", "must end before /chat/completions, which is added"),
    ],
)
def test_a_base_url_that_is_more_than_a_start(url: str, said: str) -> None:
    """What is copied from a provider's example is refused with the settings that say the same."""
    assert said in refusal(MINIMAL.replace("http://127.0.0.1:1/v1/", url))


def test_an_endpoint_as_companies_have_it() -> None:
    """All its settings reach the record of the app_id; references to secrets do not."""
    lines = """
headers = { "api-key" = "env:AZURE_KEY", X-Tenant = "blue", X-Author = "us" }
query = { "api-version" = "2024-10-21" }
chat_path = "/openai/deployments/{model}/chat/completions"
names = { m = "my deployment" }
ca_file = "ca.pem"
key_max_age = "45m"
"""
    http = (
        load_settings(MINIMAL.replace('key = "env:KEY_A"\n', 'key = "cmd:gcloud x"' + lines))
        .pool[0]
        .http
    )
    assert http.path("m") == "/openai/deployments/my%20deployment/chat/completions"
    assert (http.sent_name("m"), http.sent_name("other")) == ("my deployment", "other")
    assert http.headers == {"X-Tenant": "blue", "X-Author": "us"}
    assert (http.query, http.ca_file) == ({"api-version": "2024-10-21"}, "ca.pem")


PLANTED = "planted-secret-1234567890"


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        (f'{{ api_key = "{PLANTED}" }}', "api_key"),
        (f'{{ apiKey = "{PLANTED}" }}', "apiKey"),
        (f'{{ extra_headers = {{ "X-Api-Key" = "{PLANTED}" }} }}', "extra_headers.X-Api-Key"),
        (f'{{ headers = {{ Authorization = "{PLANTED}" }} }}', "headers.Authorization"),
        (f'{{ tools = [{{ type = "mcp", access_token = "{PLANTED}" }}] }}', "tools.access_token"),
        (f'{{ user = "sk-{PLANTED}" }}', "user"),
        (f'{{ note = ["Bearer {PLANTED}"] }}', "note"),
    ],
)
@pytest.mark.parametrize("table", ["check", "review"])
def test_a_key_in_extra_is_refused(table: str, extra: str, named: str) -> None:
    """It would be stored with every run: the message names field and remedy, never the text."""
    text = MINIMAL + f"extra = {extra}\n"
    if table == "review":
        text = MINIMAL + f'[review]\nmodel = "m"\nextra = {extra}\n'
    message = refusal(text)
    assert f"extra: {named} looks like a key" in message
    assert 'key = "env:VARIABLE"' in message
    assert PLANTED not in message


@pytest.mark.parametrize(
    "extra",
    [
        {"prompt_cache_key": "nightly", "max_completion_tokens": 9, "user": "skill-test"},
        {"stop": ["sk-"], "logit_bias": {"50256": -100}, "reasoning": {"max_tokens": 5}},
        {"response_format": {"schema": {"properties": {"password": {"type": "string"}}}}},
    ],
)
def test_what_only_sounds_like_a_key_is_taken(extra: dict[str, Any]) -> None:
    """Labels, numbers of tokens and the schema of a field are no secrets."""
    assert CheckSettings(name="a", model="m", extra=extra).extra == extra


def test_a_budget_in_dollars_needs_every_price() -> None:
    """A model whose calls cost nobody knows what is refused before the first one; its price is the remedy."""
    said = refusal(MINIMAL + "[budget]\nusd = 20\n")
    assert 'budget.usd needs the price of every model: add [prices."m"]' in said
    assert "needs the price" in refusal(MINIMAL + "[budget.per_day]\nusd = 20\n")
    priced = (
        MINIMAL
        + '[prices."m"]\ninput = 1\noutput = 2\n[budget]\nusd = 0.5\nper_day = { tokens = 9 }\n'
    )
    caps = load_settings(priced).budget.caps
    assert [(cap.name, cap.limit) for cap in caps] == [
        ("budget.usd", 500_000_000),
        ("budget.per_day.tokens", 9),
    ]
    assert load_settings(MINIMAL + "[budget]\ncalls = 3\n").budget.caps[0].unit == "calls"


def test_members_of_a_quota_group_say_the_same_quota() -> None:
    """One quota that is said differently is refused; said alike it is one, with the models of all."""
    table = (
        '[app_ids.{}]\nkey = "env:K"\nbase_url = "http://h/v1"\nquota = "{}"\nquota_group = "{}"\n'
    )
    check = '[[check]]\nname = "one"\nmodel = "m"\n'

    def text(second: str, group: str = "s") -> str:
        return (
            'mode = "check"\n'
            + table.format("a", "3/60s", group)
            + table.format("b", second, group)
            + check
        )

    assert "a and b share the quota_group 's' and differ in quota" in refusal(text("4/60s"))
    assert "has the name of an app_id" in refusal(text("3/60s", "b"))
    settings = load_settings(text("3/1min"))
    assert [(one.alias, one.windows) for one in settings.quotas] == [("s", (Window(3, 60.0),))]
    assert [one.alias for one in settings.pool] == ["a", "b"]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('on = ["incomplet"]\nto = "slack-webhook/x"', "notify.on"),
        ('on = []\nto = "slack-webhook/x"', "notify.on"),
        ('on = ["late"]\nto = "https://hooks.example.test/secret"', "notify.to"),
        ('on = ["late"]', "notify.to"),
    ],
)
def test_a_notification_names_known_occasions_and_a_block(table: str, said: str) -> None:
    """A webhook's URL is a secret, so it belongs into a block and not into the file."""
    with pytest.raises(ConfigError, match=said):
        load_settings(f"{STRICT}[notify]\n{table}\n")


def test_cached_and_written_tokens_have_prices_of_their_own() -> None:
    """Both are part of the prompt; without a price they cost what others do."""
    usage = Usage(1_000_000, 0, cached_tokens=500_000, cache_write_tokens=300_000)
    assert Price(input=2, output=0, cached=0.2, cache_write=2.5).cost(usage) == pytest.approx(1.25)
    assert Price(input=2, output=0).cost(usage) == pytest.approx(2.0)
    odd = replace(usage, cached_tokens=900_000)
    assert Price(input=2, output=0, cached=0, cache_write=1).cost(odd) == pytest.approx(0.1)
