from __future__ import annotations

import pytest

from tasks.core.errors import ConfigError
from tasks.core.selection import DEFAULT_EXCLUDE, GitOptions, Selection, pattern_problem
from tasks.core.settings import load_settings

MINIMAL = """
mode = "check"
[app_ids.a]
key = "env:KEY_A"
base_url = "http://127.0.0.1:1"
quota = []
[[check]]
name = "one"
model = "m"
"""


@pytest.mark.parametrize(
    "path",
    [
        "poetry.lock",
        "web/package-lock.json",
        "go.sum",
        "vendor/a/b.go",
        "a/node_modules/b/c.js",
        ".git/config",
        "api/service_pb2.py",
        "api/service.pb.go",
        "static/app.min.js",
        "src/__snapshots__/a.snap",
        "dist/app.js",
        "data/rows.jsonl",
        "node_modules/line\nbreak.js",
    ],
)
def test_left_out_by_default(path: str) -> None:
    """Nobody wrote these by hand, wherever they are; the message names the pattern."""
    assert "exclude pattern" in (Selection(GitOptions()).refusal(path) or "")


@pytest.mark.parametrize(
    "path",
    [
        "a.py",
        "src/lock.py",
        "src/vendor.py",
        "vendored/a.py",
        "package.json",
        "distance/a.c",
        "go.mod",
        "Makefile",
        ".github/workflows/ci.yml",
        "src/map.ts",
    ],
)
def test_taken_by_default(path: str) -> None:
    """Names that only resemble excluded ones are code."""
    assert Selection(GitOptions()).refusal(path) is None


def test_exclusion_wins_and_include_narrows() -> None:
    """A file has to be included, where anything is, and not excluded."""
    selection = Selection(GitOptions(include=("src/", "*.py"), exclude=("*_test.py",)))
    assert selection.refusal("src/a.c") is None
    assert selection.refusal("b/a.py") is None
    assert "no include pattern" in (selection.refusal("b/a.c") or "")
    assert "exclude pattern '*_test.py'" in (selection.refusal("src/a_test.py") or "")


def test_the_last_pattern_decides() -> None:
    """Behind the defaults, ! takes a file back."""
    selection = Selection(GitOptions(exclude=(*DEFAULT_EXCLUDE, "!vendor/ours.py")))
    assert selection.refusal("vendor/ours.py") is None
    assert selection.refusal("vendor/theirs.py")


def test_a_pattern_that_is_none_is_named() -> None:
    """By itself and in the settings."""
    assert pattern_problem(["*.py", "src/"]) is None
    assert "'!'" in (pattern_problem(["*.py", "!"]) or "")
    with pytest.raises(ConfigError, match=r"git\.exclude: '!' is no pattern"):
        load_settings(MINIMAL + '[git]\nexclude = ["!"]')


def test_settings_add_to_the_defaults_or_replace_them() -> None:
    """Whoever adds one pattern must not lose the lock files."""
    options = load_settings(MINIMAL + '[git]\nexclude = ["docs/"]\ncontext = 3').git.options
    assert options == GitOptions(exclude=(*DEFAULT_EXCLUDE, "docs/"), context=3)
    bare = load_settings(MINIMAL + '[git]\ndefault_excludes = false\nexclude = ["docs/"]')
    assert bare.git.options.exclude == ("docs/",)
    assert load_settings(MINIMAL).git.options == GitOptions()


@pytest.mark.parametrize("line", ["contxt = 3", "context = -1", "max_bytes = 10", "include = 3"])
def test_wrong_settings_are_refused(line: str) -> None:
    """A typo must not silently review everything."""
    with pytest.raises(ConfigError, match=r"git\."):
        load_settings(f"{MINIMAL}[git]\n{line}")
