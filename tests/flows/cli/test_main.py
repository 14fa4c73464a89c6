"""The command itself: help, mistakes, completion, and that whatever the docs say to type is understood."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command

from deployments.local_model import ModelOptions
from flows.cli.main import app, main
from flows.setup.config import source_of
from tasks.core.errors import ConfigError
from tasks.finished.export import EXPORTS
from tests.factories import STRICT

ROOT = Path(__file__).parents[3]
DOCS = [
    "README.md",
    "deployments/README.md",
    "data/samples/README.md",
    "tests/benchmarks/README.md",
    "deployments/review.example.toml",
    "deployments/automations/rerun_incomplete.yaml",
    "Makefile",
]
SLOW = ("prefect", "pyarrow", "pandas", "pydantic", "rich", "openai")
NAME = "nightly-review"
COMMAND: Any = get_command(app)


def subcommands() -> dict[str, Any]:
    """Every subcommand by what one types, those of journal too."""
    found = dict(COMMAND.commands)
    group = found.pop("journal")
    return found | {f"journal {name}": one for name, one in group.commands.items()}


def parsed(arguments: list[str]) -> dict[str, Any]:
    """The options of the last subcommand as it would get them; raises what a user would be told."""
    command, context, rest = COMMAND, COMMAND.make_context(NAME, list(arguments)), arguments
    while hasattr(command, "commands"):
        rest = [*context._protected_args, *context.args]
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)
    return dict(context.params)


def commands_in(text: str) -> Iterator[list[str]]:
    """The arguments of each `nightly-review ...`, in a line of its own or between backticks."""
    for line in text.splitlines():
        before, found, after = line.partition(f"{NAME} ")
        typed = before.strip(" #").removesuffix(".venv/bin/").removesuffix("$(BIN)/").strip()
        quoted = before.removesuffix(".venv/bin/").endswith("`")
        if found and (quoted or not typed or typed == "example:"):
            said = after.partition("`")[0] if quoted else after
            yield shlex.split(said.replace("<run id>", "run-1"), comments=True)


def call(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Python in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
        timeout=120,
    )


QUICK = {
    "--help": 0,
    "run --help": 0,
    "repolicy --help": 0,
    "journal expire --help": 0,
    "sandbox --help": 0,
    "run diffs.jsonl --limt 3": 2,
    "verfiy DIR": 2,
}
"""Commands that end at once, and their exit codes."""


@pytest.fixture(scope="module")
def ended() -> dict[str, list[Any]]:
    """How each of them ended in a new process, one after the other: exit code, slow imports so far."""
    program = f"""
import json, sys
from flows.cli.main import main
for line in sys.argv[1:]:
    code = main(line.split())
    print("\\nended", json.dumps([line, code, [one for one in {SLOW!r} if one in sys.modules]]))
"""
    done = call(program, *QUICK)
    said = [line.removeprefix("ended ") for line in done.stdout.splitlines() if "ended [" in line]
    return {line: rest for line, *rest in map(json.loads, said)}


@pytest.mark.parametrize("line", QUICK)
def test_help_and_mistakes_are_answered_before_anything_slow_is_imported(
    line: str, ended: dict[str, list[Any]]
) -> None:
    """Neither Prefect nor Arrow nor anything else that takes a while is there when it ends."""
    assert ended[line] == [QUICK[line], []]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["exprot", "DIR"], "Did you mean 'export'?"),
        (["run", "diffs.jsonl", "--limt", "3"], "--limit"),
        (["run", "diffs.jsonl", "--limit", "0"], "'--limit': give no less than 1"),
        (["run", "diffs.jsonl", "--limit", "few"], "'--limit': give a whole number"),
        (["sandbox", "--latency", "x"], "'--latency': give a number"),
        (["run"], "Missing argument 'SOURCE'"),
        (["run", "diffs.jsonl", "more.jsonl"], "more.jsonl"),
        (["journal", "expire", "journal.sqlite"], "Missing option '--days'"),
        (["sandbox", "--retry-after", "never"], "is not one of 'seconds', 'ms', 'date', 'none'"),
        ([], "Missing command"),
    ],
)
def test_a_mistake_is_told_in_a_line_and_where_to_look(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, what is wrong, what would be right, and the help page; nothing on stdout."""
    assert main(arguments) == 2
    shown = capsys.readouterr()
    error, where = shown.err.splitlines()
    assert error.startswith("error: ")
    assert said in error
    assert where.startswith("see: nightly-review")
    assert where.endswith(" --help")
    assert shown.out == ""


@pytest.mark.parametrize("name", DOCS)
def test_what_the_docs_say_to_type_is_understood(name: str) -> None:
    """Each command line names a subcommand and options that are there."""
    found = list(commands_in((ROOT / name).read_text()))
    assert found
    for arguments in found:
        parsed(arguments)


def test_each_line_of_the_docs_is_looked_at() -> None:
    """No `nightly-review SUBCOMMAND` of the two READMEs slips through the search for them."""
    names = [*COMMAND.commands]
    for doc in DOCS[:2]:
        text = (ROOT / doc).read_text()
        there = sum(text.count(f"{NAME} {name} ") for name in names)
        assert len([one for one in commands_in(text) if one[0] in names]) >= there > 0


@pytest.mark.parametrize("name", subcommands())
def test_examples_of_a_help_page_are_understood(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every subcommand's help has an example of itself, on one line each, and its options exist."""
    assert main([*name.split(), "--help"]) == 0
    found = list(commands_in(capsys.readouterr().out.replace("Usage: ", "Usage: no ")))
    own = [one for one in found if one[: len(name.split())] == name.split()]
    assert own
    for arguments in own:
        parsed(arguments)


def test_help_of_export_names_every_format_and_file(capsys: pytest.CaptureFixture[str]) -> None:
    """As they are in the table of exports."""
    assert main(["export", "--help"]) == 0
    shown = capsys.readouterr().out.split()
    for name, export in EXPORTS.items():
        assert shown[shown.index(name) + 1] == export.file


def test_the_local_model_is_started_with_its_own_defaults() -> None:
    """What the help page shows is what ModelOptions has."""
    shown = parsed(["local-model"])
    assert {name: shown[name] for name in asdict(ModelOptions())} == asdict(ModelOptions())


def test_a_shell_completes_names() -> None:
    """Bash is told the subcommands that begin so, and the options of one."""
    program = "from flows.cli.main import main; main()"
    for words, expected in (
        ("nightly-review ev", "evaluate"),
        ("nightly-review run --pr", "--previous"),
    ):
        done = call(
            program,
            _NIGHTLY_REVIEW_COMPLETE="complete_bash",
            COMP_WORDS=words,
            COMP_CWORD=str(len(words.split()) - 1),
        )
        assert done.stdout.split() == [expected], done.stderr


def test_a_missing_package_is_named_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sandbox's server comes with an extra."""
    monkeypatch.delitem(sys.modules, "deployments.sandbox.command", raising=False)
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert main(["sandbox", "--port", "0"]) == 2
    assert "the package uvloop is not installed" in capsys.readouterr().err


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    """One line, the name and the number of pyproject.toml."""
    assert main(["--version"]) == 0
    number = capsys.readouterr().out.removeprefix(f"{NAME} ").strip()
    assert f'version = "{number}"' in (ROOT / "pyproject.toml").read_text()


def test_the_parser_of_these_tests_refuses_what_is_not_there() -> None:
    """An option that no subcommand has would be found in the docs."""
    with pytest.raises(typer.TyperException, match="nowhere"):
        parsed(["run", "SOURCE", "--nowhere", "x"])


def test_no_command_sends_usage_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect looks for this when it is imported, and prints a notice on a terminal without it."""
    monkeypatch.delenv("DO_NOT_TRACK", raising=False)

    assert main(["--version"]) == 0
    assert os.environ["DO_NOT_TRACK"] == "1"
    monkeypatch.setenv("DO_NOT_TRACK", "0")
    assert main(["--version"]) == 0
    assert os.environ["DO_NOT_TRACK"] == "0"


def test_what_is_reviewed_may_stand_in_the_configuration(tmp_path: Path) -> None:
    """Tables [[source]] where no SOURCE is named; a named one wins, and several are repositories."""
    config = tmp_path / "review.toml"
    tables = '[[source]]\nat = "git:a@since=last"\n[[source]]\nat = "git:b@since=last"\n'
    config.write_text(f"{STRICT}\n{tables}")
    assert source_of(None, str(config)) == "git:a@since=last git:b@since=last"
    assert source_of(["diffs.jsonl"], str(config)) == "diffs.jsonl"
    assert source_of(["git:c@a..b", "git:d@a..b"], str(config)) == "git:c@a..b git:d@a..b"
    config.write_text(
        f'{STRICT}\n[[source]]\nat = "a.jsonl"\n[[source]]\nat = "git:b@since=last"\n'
    )
    with pytest.raises(ConfigError, match=r"not a repository: a.jsonl"):
        source_of(None, str(config))
