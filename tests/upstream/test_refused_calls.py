"""What refusals lead to, on a real HTTP server that answers as a rule says: calls, keys, cells."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from tasks.core.calls import Request
from tasks.core.quotas import AppId, Window
from tasks.review.replies.replies import parse_comments
from tasks.upstream.calls.caller import Caller, open_caller
from tasks.upstream.calls.key_ring import Credentials, KeyRing, KeySource
from tests.upstream.provider import Answer, Provider, outcomes, refusal

Ask = Callable[..., Request]
OpenCaller = Callable[..., Caller]
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}


def _gpt5(_key: str, body: dict[str, Any]) -> Answer:
    for name in ("max_tokens", "temperature"):
        if name in body:
            return refusal(
                400,
                f"Unsupported parameter: '{name}' is not supported with this model.",
                code="unsupported_parameter",
                param=name,
            )
    return None


def test_parameters_adapt_once_for_all(provider: Provider, open_call: OpenCaller, ask: Ask) -> None:
    """60 questions with the defaults: none is lost, a few requests are; the next run wastes none."""
    provider.rule = _gpt5
    asks = [ask(f"q{n}", max_tokens=99, temperature=0.0) for n in range(60)]
    assert outcomes(open_call(2, base_url=provider.url), asks) == {"ok": 60}
    assert len(provider.sent) <= 60 + 3
    assert provider.sent[-1][1]["max_completion_tokens"] == 99
    later = open_call(2, base_url=provider.url, run_id="later")
    before = len(provider.sent)
    assert outcomes(later, asks) == {"journaled": 60}
    assert outcomes(later, [ask("new", max_tokens=99, temperature=0.0)]) == {"ok": 1}
    assert len(provider.sent) == before + 1


def test_a_format_refused_in_unknown_words_is_lowered(
    provider: Provider, open_call: OpenCaller, ask: Ask
) -> None:
    """Nobody knows the words: the format goes down while none was taken, and stays where it helps."""

    def rule(_key: str, body: dict[str, Any]) -> Answer:
        kind = body.get("response_format", {}).get("type")
        return refusal(400, "Der Mond steht falsch.") if kind == "json_schema" else None

    provider.rule = rule
    asks = [ask(f"q{n}", response_format=SCHEMA) for n in range(30)]
    assert outcomes(open_call(1, base_url=provider.url), asks) == {"ok": 30}
    assert len(provider.sent) == 31
    provider.rule = lambda _key, _body: refusal(400, "Die Sonne auch.")
    again = open_call(1, base_url=provider.url, run_id="two")
    assert set(outcomes(again, [ask("last", response_format=SCHEMA)])) == {"bad_request"}


@pytest.mark.parametrize(
    "flagged",
    [
        refusal(403, "m requires moderation. Your input was flagged.", code=403),
        (403, "<html><h1>Request blocked</h1></html>", {}),
        refusal(403, "no words that anybody knows"),
        (401, {}, {}),
    ],
)
def test_one_flagged_input_is_one_failed_cell(
    provider: Provider, open_call: OpenCaller, ask: Ask, flagged: Answer
) -> None:
    """40 inputs, one refused whatever the key, five keys: 39 complete, and no key is out."""

    def rule(_key: str, body: dict[str, Any]) -> Answer:
        return flagged if "attack" in body["messages"][0]["content"] else None

    provider.rule = rule
    caller = open_call(5, base_url=provider.url)
    texts = ["attack" if n == 17 else f"q{n}" for n in range(40)]
    found = outcomes(caller, [ask(text) for text in texts])
    assert found["ok"] == 39
    assert len(provider.sent) <= 39 + 2
    assert {state.state for state in caller._up.quota.snapshot()} == {"ready"}


def test_one_hiccup_does_not_cost_the_key(
    provider: Provider, open_call: OpenCaller, ask: Ask
) -> None:
    """A single 401 after nine good answers: everything is answered on that one key."""

    def rule(_key: str, _body: dict[str, Any]) -> Answer:
        hiccup = len(provider.sent) == 10
        return (
            refusal(401, "Incorrect API key provided", code="invalid_api_key") if hiccup else None
        )

    provider.rule = rule
    assert outcomes(open_call(1, base_url=provider.url), [ask(f"q{n}") for n in range(30)], 4) == {
        "ok": 30
    }


def test_a_key_that_expired_is_read_anew(
    provider: Provider, open_call: OpenCaller, ask: Ask
) -> None:
    """A 401 re-reads the key first, and a key that is another one is no suspect."""
    keys = iter(["plain-old", "plain-new"])
    ring = KeyRing({"a0": KeySource(lambda: Credentials(SecretStr(next(keys))), changes=True)})
    provider.rule = lambda key, _body: None if key == "new" else (401, {}, {})

    caller = open_call(1, base_url=provider.url, keys=ring)
    assert outcomes(caller, [ask(f"q{n}") for n in range(40)]) == {"ok": 40}
    assert Counter(key for key, _ in provider.sent)["old"] == 1, "the canary, and nobody else"


def test_keys_that_are_refused_though_they_change_end(
    provider: Provider, open_call: OpenCaller, ask: Ask
) -> None:
    """A command that gives another key each time does not keep a refused account alive."""
    count = itertools.count()
    ring = KeyRing(
        {"a0": KeySource(lambda: Credentials(SecretStr(f"plain-{next(count)}")), changes=True)}
    )
    provider.rule = lambda _key, _body: refusal(401, "no such key", code="invalid_api_key")

    found = outcomes(
        open_call(1, base_url=provider.url, keys=ring), [ask(f"q{n}") for n in range(40)]
    )
    assert "ok" not in found
    assert len(provider.sent) <= 5


def test_a_new_key_goes_on_in_the_windows_of_the_old(
    provider: Provider, open_call: OpenCaller, ask: Ask
) -> None:
    """Three a second, and a key that expires after two answers: never four in a second."""
    keys, times = iter(["plain-0", "plain-1", "plain-2"]), list[float]()
    ring = KeyRing({"a0": KeySource(lambda: Credentials(SecretStr(next(keys))), changes=True)})

    def rule(key: str, _body: dict[str, Any]) -> Answer:
        times.append(time.monotonic())
        return None if len(times) <= 2 + 3 * int(key) else (401, {}, {})

    provider.rule = rule
    app_id = AppId("a0", provider.url, (Window(3, 1.0),))
    caller = open_call(app_ids=[app_id], keys=ring)
    assert outcomes(caller, [ask(f"q{n}") for n in range(6)], 6) == {"ok": 6}
    assert all(later - first > 0.9 for first, later in zip(times, times[3:], strict=False))


def test_a_model_is_out_on_one_key_alone(
    provider: Provider, open_call: OpenCaller, ask: Ask
) -> None:
    """A key that may not use the model is asked once; another model goes through it as before."""

    def rule(key: str, body: dict[str, Any]) -> Answer:
        denied = key == "a0" and body["model"] == "m"
        return refusal(403, "no access to model m", code="model_not_found") if denied else None

    provider.rule = rule
    caller = open_call(2, base_url=provider.url)
    assert outcomes(caller, [ask(f"q{n}") for n in range(30)]) == {"ok": 30}
    assert sum(key == "a0" for key, _ in provider.sent) == 1
    others = [Request("other", ({"role": "user", "content": f"o{n}"},)) for n in range(20)]
    assert outcomes(caller, others) == {"ok": 20}
    assert sum(key == "a0" for key, _ in provider.sent) > 5


def _process(url: str, folder: Path, run_id: str, first: int) -> dict[str, int]:
    """Thirty questions of one process of a run on two keys."""
    app_ids = [AppId("a0", url), AppId("a1", url)]
    keys = {app.alias: SecretStr(f"plain-{app.alias}") for app in app_ids}
    state = {"journal": folder / "journal.sqlite", "ledger": folder / "ledger.sqlite"}
    asks = [
        Request("m", ({"role": "user", "content": f"q{first + number}"},)) for number in range(30)
    ]
    with open_caller(app_ids, keys, run_id=run_id, **state) as caller:
        return outcomes(caller, asks)


# Its server imports this module, once for all processes that it forks.
_FORKED = get_context("forkserver")
_FORKED.set_forkserver_preload([__name__])


def _in_a_process(*given: Any) -> dict[str, int]:
    with ProcessPoolExecutor(1, _FORKED) as executor:
        return executor.submit(_process, *given).result(timeout=60)


def test_processes_of_a_run_tell_each_other_what_is_refused(
    provider: Provider, tmp_path: Path
) -> None:
    """A model is refused to a key once for two processes, and a closed model costs the second nothing."""

    def denied(key: str, _body: dict[str, Any]) -> Answer:
        return refusal(403, "no access to model m", code="model_not_found") if key == "a0" else None

    provider.rule = denied
    assert _in_a_process(provider.url, tmp_path, "one", 0) == {"ok": 30}
    assert _in_a_process(provider.url, tmp_path, "one", 100) == {"ok": 30}
    assert Counter(key for key, _ in provider.sent) == {"a0": 1, "a1": 60}

    provider.rule = lambda _key, _body: refusal(400, "Der Mond steht falsch.")
    _in_a_process(provider.url, tmp_path, "two", 200)
    sent = len(provider.sent)
    assert sent <= 61 + 10
    assert _in_a_process(provider.url, tmp_path, "two", 300) == {"refused_by_endpoint": 30}
    assert len(provider.sent) == sent


def test_a_wait_with_402_is_a_hold(provider: Provider, open_call: OpenCaller, ask: Ask) -> None:
    """OpenRouter's budget in flight: the key goes on when the wait is over."""

    def rule(_key: str, _body: dict[str, Any]) -> Answer:
        return (
            (402, {"error": "in flight"}, {"Retry-After": "1"}) if len(provider.sent) == 3 else None
        )

    provider.rule = rule
    began = time.monotonic()
    assert outcomes(open_call(1, base_url=provider.url), [ask(f"q{n}") for n in range(9)], 1) == {
        "ok": 9
    }
    assert time.monotonic() - began >= 1.0


def test_a_limit_per_day_ends_the_run_with_its_instant(
    provider: Provider, open_call: OpenCaller, ask: Ask
) -> None:
    """Gemini's daily limit, said in the body alone: after three answers all else is left for then."""

    def rule(_key: str, _body: dict[str, Any]) -> Answer:
        if len(provider.sent) <= 3:
            return None
        info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "43200s"}
        error = {"code": 429, "message": "Quota exceeded", "status": "RESOURCE_EXHAUSTED"}
        return 429, [{"error": {**error, "details": [info]}}], {}

    provider.rule = rule
    began = time.monotonic()
    caller = open_call(1, base_url=provider.url)
    found = outcomes(caller, [ask(f"q{n}") for n in range(40)], 2)
    assert found == {"ok": 3, "quota_held": 37}
    assert time.monotonic() - began < 10
    assert len(provider.sent) <= 5
    assert "can go on at 20" in found.said[-1]
    assert "Quota exceeded" in found.said[-1]


def test_a_models_own_quota_holds_the_model_alone(
    provider: Provider, open_call: OpenCaller, ask: Ask
) -> None:
    """Two keys whose day's quota of one model is spent: its questions end, another model goes on."""
    said = "Rate limit reached for m on tokens per day (TPD). Please try again in 7m12s."
    provider.rule = lambda _key, body: refusal(429, said) if body["model"] == "m" else None
    caller = open_call(2, base_url=provider.url, longest_wait=1.0)
    found = outcomes(caller, [ask(f"q{n}") for n in range(40)])
    assert found == {"quota_held": 40}
    assert len(provider.sent) <= 4
    assert (
        "m: its quota is used up on every app_id that serves it; it can go on at 20"
        in found.said[-1]
    )
    assert "reached for m on tokens per day" in found.said[-1]
    others = [Request("other", ({"role": "user", "content": f"o{n}"},)) for n in range(20)]
    assert outcomes(caller, others) == {"ok": 20}
    assert {state.state for state in caller._up.quota.snapshot()} == {"ready"}
    limited = sum(use.rate_limited for use in caller._up.quota.statistics().app_ids)
    assert limited == len(provider.sent) - 20


@pytest.mark.parametrize("after", ["Wed, 25 Nov 2099 09:47:40 GMT", "99999999"])
def test_a_wait_of_years_ends_the_run_at_once(
    provider: Provider, open_call: OpenCaller, ask: Ask, after: str
) -> None:
    """Retry-After may say any date: it is a hold like any other, not a 429 without a wait."""
    provider.rule = lambda _key, _body: (429, {"error": "later"}, {"Retry-After": after})
    began = time.monotonic()
    caller = open_call(1, base_url=provider.url)
    assert outcomes(caller, [ask(f"q{n}") for n in range(9)], 2) == {"quota_held": 9}
    assert time.monotonic() - began < 10
    assert len(provider.sent) <= 2


def test_an_accident_of_sampling_is_asked_again(
    provider: Provider, open_call: OpenCaller, ask: Ask
) -> None:
    """Groq's json_validate_failed is no refusal of the question."""
    seen: set[str] = set()

    def rule(_key: str, body: dict[str, Any]) -> Answer:
        question, before = str(body["messages"]), len(seen)
        seen.add(question)
        fails = len(seen) > before and before % 5 == 0
        return (
            refusal(400, "Failed to generate JSON", code="json_validate_failed") if fails else None
        )

    provider.rule = rule
    assert outcomes(open_call(1, base_url=provider.url), [ask(f"q{n}") for n in range(20)], 4) == {
        "ok": 20
    }


def test_what_failed_as_json_goes_to_the_parse_ladder(
    provider: Provider, open_call: OpenCaller, ask: Ask
) -> None:
    """Groq gives the text back with each refusal: after the attempts it is read like a reply."""
    text = (
        '```json\n{"comments": [{"title": "Adds", "message": "It adds.", "start_line": 1,}]}\n```'
    )
    provider.rule = lambda _key, _body: refusal(
        400, "Failed to generate JSON", code="json_validate_failed", failed_generation=text
    )
    reply = open_call(1, base_url=provider.url).call(ask("q"))
    found = parse_comments(reply.content, finish_reason=reply.finish_reason)
    assert [(one.title, found.mode) for one in found.items] == [("Adds", "repaired")]
    assert (reply.attempts, len(provider.sent)) == (3, 3), "asked again first"


@pytest.mark.parametrize("generation", ["", None, {"a": 1}, "  "])
def test_a_refusal_without_its_text_stays_one(
    provider: Provider, open_call: OpenCaller, ask: Ask, generation: Any
) -> None:
    """json_validate_failed without a text ends as a bad reply."""
    provider.rule = lambda _key, _body: refusal(
        400, "Failed to generate JSON", code="json_validate_failed", failed_generation=generation
    )
    assert outcomes(open_call(1, base_url=provider.url), [ask("q")]) == {"bad_reply": 1}


def _no_format(_key: str, body: dict[str, Any]) -> Answer:
    if "response_format" in body:
        return refusal(400, "response_format is not supported", param="response_format")
    return None


def test_answers_without_a_format_are_found_when_the_endpoint_is_gone(
    provider: Provider, open_call: OpenCaller, ask: Ask, tmp_path: Path
) -> None:
    """30 questions to an endpoint that takes no response_format: a rerun sends nothing and needs nobody.

    Not even the ledger, which has what was learnt of the endpoint.
    """
    provider.rule = _no_format
    asks = [ask(f"q{n}", response_format=SCHEMA) for n in range(30)]
    assert outcomes(open_call(1, base_url=provider.url), asks) == {"ok": 30}
    assert len(provider.sent) <= 30 + 2
    provider.rule = lambda _key, _body: refusal(503, "gone")
    before = len(provider.sent)
    again = open_call(1, base_url=provider.url, run_id="two")
    other = open_call(1, base_url=provider.url, ledger=tmp_path / "other.sqlite", run_id="three")
    assert outcomes(again, asks) == outcomes(other, asks) == {"journaled": 30}
    assert len(provider.sent) == before


def test_what_is_learnt_late_makes_no_answer_unknown(
    provider: Provider, open_call: OpenCaller, ask: Ask
) -> None:
    """A limit that only the last question exceeds changes what is sent, and not what was answered."""

    def rule(_key: str, body: dict[str, Any]) -> Answer:
        if "long" in body["messages"][0]["content"] and body["max_tokens"] > 300:
            return refusal(400, "max_tokens is too large: at most 300", param="max_tokens")
        return None

    provider.rule = rule
    asks = [*(ask(f"q{n}", max_tokens=900) for n in range(9)), ask("long", max_tokens=900)]
    assert outcomes(open_call(1, base_url=provider.url), asks, threads=1) == {"ok": 10}
    assert [body["max_tokens"] for _, body in provider.sent] == [900] * 10 + [300]
    later = open_call(1, base_url=provider.url, run_id="later")
    assert outcomes(later, asks) == {"journaled": 10}


def test_a_key_that_comes_back_in_a_reply_is_masked(
    provider: Provider, open_call: OpenCaller, ask: Ask
) -> None:
    """In content, id, model and headers: neither shown nor stored."""
    secret = "plain-0123456789-secret"
    choice = {"message": {"content": f"you sent {secret}, sk-like-words stay"}}
    said = {"model": f"m {secret}", "choices": [choice]}
    provider.rule = lambda _key, _body: (200, said, {"x-request-id": f"r-{secret}"})
    keys = {"a0": SecretStr(secret)}
    reply = open_call(1, base_url=provider.url, keys=keys).call(ask("q"))
    stored = open_call(1, base_url=provider.url, run_id="two").call(ask("q"))
    assert stored.journaled
    for one in (reply, stored):
        assert one.content == "you sent ***, sk-like-words stay"
        assert (one.model, one.request_id) == ("m ***", "r-***")
