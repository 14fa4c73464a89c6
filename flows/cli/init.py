"""The command that writes a first review.toml, from flags or from four questions."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tasks.core.app_id_settings import AppIdSettings
from tasks.core.errors import ConfigError
from tasks.core.files import output_errors
from tasks.core.quotas import parse_window
from tasks.core.settings import load_settings

__all__ = ["InitAnswers", "init_command", "settings_text"]

T = TypeVar("T")

_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
_REFERENCE = re.compile(r"(env|secret):\S+")
_NO_LIMIT = "none"

_HEAD = """\
# Settings of nightly-review. All that can be said: deployments/review.example.toml.
# Try it: nightly-review doctor --config {path}

state = "data/state"          # journal of paid answers, ledger of used quota: keep it

# One table per API key; more keys share the work. The name is what logs and reports show.
[app_ids.key-1]
key = {key}
base_url = {endpoint}
quota = {quota}
# tokens = ["90000/60s"]      # token windows, where the provider has them

# Each check model comments on every input.
"""
_CHECK = """\
[[check]]
name = {name}
model = {model}

"""
_REVIEW = """\
# The review model judges every comment; a strong one pays off.
[review]
model = {model}

# US dollars per million tokens; without them the cost is unknown.
# [prices.{model}]
# input = 0.40
# output = 1.60
"""


@dataclass(frozen=True, slots=True)
class InitAnswers:
    """What a first review.toml depends on."""

    endpoint: str
    key: str
    """"env:VARIABLE" or "secret:BLOCK"."""
    models: tuple[str, ...]
    """Each of them checks; the first one reviews as well."""
    quota: tuple[str, ...]
    """Windows; empty: no limit."""


def init_command(
    path: str,
    *,
    endpoint: str | None,
    key: str | None,
    models: Sequence[str],
    quota: str | None,
    force: bool,
) -> None:
    """Write a review.toml to `path`; what no flag says is asked for in the terminal.

    Raises:
        ConfigError: a file is there already, an answer is wrong, or there is nobody to ask.
        OutputError: the file cannot be written.
    """
    target = Path(path)
    if target.exists() and not force:
        msg = f"{path} is there already: name another --output, or overwrite it with --force"
        raise ConfigError(msg)
    missing = _missing(endpoint, key, models, quota)
    if missing and not sys.stdin.isatty():
        msg = f"there is no terminal to ask in: give {', '.join(missing)}"
        raise ConfigError(msg)
    answers = InitAnswers(
        endpoint=_given("Endpoint, as https://api.openai.com/v1", endpoint, _endpoint),
        key=_given("Variable that holds the key, as OPENAI_API_KEY", key, _key),
        models=_given("Models, with commas, the strongest first", ",".join(models), _models),
        quota=_given("Quota of the key, as 3/60s; none for no limit", quota, _quota),
    )
    text = settings_text(answers, path)
    load_settings(text, path)
    with output_errors(target):
        target.write_text(text, encoding="utf-8")
    checks = f"{len(answers.models)} check model{'s' * (len(answers.models) > 1)}"
    print(f"{path} written: {checks}, {answers.models[0]} reviews")


def settings_text(answers: InitAnswers, path: str) -> str:
    """The text of a small, commented review.toml, which the settings' parser takes."""
    names = _names(answers.models)
    review = _quoted(answers.models[0])
    parts = [
        _HEAD.format(
            path=path,
            key=_quoted(answers.key),
            endpoint=_quoted(answers.endpoint),
            quota=_listed(answers.quota),
        ),
        *(
            _CHECK.format(name=_quoted(name), model=_quoted(model))
            for name, model in zip(names, answers.models, strict=True)
        ),
        _REVIEW.format(model=review),
    ]
    return "".join(parts)


def _missing(
    endpoint: str | None, key: str | None, models: Sequence[str], quota: str | None
) -> list[str]:
    given = {"--endpoint": endpoint, "--key": key, "--model": models, "--quota": quota}
    return [flag for flag, value in given.items() if not value]


def _given(question: str, flag: str | None, read: Callable[[str], T]) -> T:
    """What the flag says, or the answer to the question, which is asked until it can be read."""
    if flag:
        return read(flag)
    while True:
        try:
            return read(input(f"{question}: ").strip())
        except ConfigError as error:
            print(f"  {error}", file=sys.stderr)
        except EOFError:
            msg = "the input ended before every question was answered: nothing was written"
            raise ConfigError(msg) from None


def _endpoint(text: str) -> str:
    try:
        return AppIdSettings(key="env:K", base_url=text, quota=()).base_url
    except ValueError as error:
        said = str(error.errors()[0]["msg"]) if hasattr(error, "errors") else "is no URL"
        msg = f"--endpoint {said.removeprefix('Value error, ')}"
        raise ConfigError(msg) from None


def _key(text: str) -> str:
    if _REFERENCE.fullmatch(text):
        return text
    if not _VARIABLE.fullmatch(text):
        # It may be a key that somebody pasted: never repeat it.
        msg = (
            "--key is the name of a variable in capitals, or env:VARIABLE, or secret:BLOCK; "
            "not the key itself"
        )
        raise ConfigError(msg)
    return f"env:{text}"


def _models(text: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(one.strip() for one in text.split(",") if one.strip()))
    if not found:
        msg = "--model names at least one model, as the endpoint calls it"
        raise ConfigError(msg)
    return found


def _quota(text: str) -> tuple[str, ...]:
    if text.lower() in {_NO_LIMIT, "[]"}:
        return ()
    windows = tuple(one.strip() for one in text.split(","))
    for one in windows:
        parse_window(one)
    return windows


def _names(models: Sequence[str]) -> list[str]:
    """A label per model, in the letters that labels may have, each another one."""
    names: list[str] = []
    for model in models:
        name = re.sub(r"[^A-Za-z0-9_.-]+", "-", model.rpartition("/")[2]).strip("-._")[:50]
        name = name or "model"
        taken = name in names or name == "review"
        names.append(f"{name}-{len(names) + 1}" if taken else name)
    return names


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _listed(texts: Sequence[str]) -> str:
    return f"[{', '.join(map(_quoted, texts))}]"
