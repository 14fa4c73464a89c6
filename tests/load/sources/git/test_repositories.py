"""Several repositories as one source: their rows, names and rules, apart from each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.core.errors import RowError, SourceError
from tasks.core.git_source import join_sources, split_sources
from tasks.core.sections import in_section, split_section
from tasks.load.sources import check_source, read_source
from tasks.load.sources.git.repositories import name_repositories, read_all_rule_files
from tests.load.sources.conftest import Repository


@pytest.fixture
def two(tmp_path: Path) -> list[str]:
    """The same file, changed alike, in two repositories; each has a rule and a deleted file."""
    found = []
    for name in ("shop", "api"):
        repository = Repository(tmp_path / name)
        repository.commit({"a.py": "x = 1\n", "REVIEW.md": f"rules of {name}\n", "old.py": "y\n"})
        (repository.root / "old.py").unlink()
        repository.commit({"a.py": "x = 2\n"})
        found.append(f"git:{repository.root}@HEAD~1..HEAD")
    return found


def test_rows_of_each_in_its_section(two: list[str]) -> None:
    """Equal changes of equal paths stay two inputs, and what is left out says of which repository."""
    rows = list(read_source(join_sources(two)))
    assert [row.number for row in rows] == [1, 2, 3, 4]
    taken = [row.row for row in rows if isinstance(row.row, dict)]
    assert [(row["repo"], row["path"]) for row in taken] == [("shop", "a.py"), ("api", "a.py")]
    ids = [split_section(row["input_id"]) for row in taken]
    assert [one.section for one in ids] == ["shop", "api"]
    assert ids[0].name == ids[1].name == next(read_source(two[0])).row["input_id"]
    refused = [row.snippet for row in rows if isinstance(row.row, RowError)]
    assert refused == ["shop//old.py", "api//old.py"]


def test_rules_of_each(two: list[str]) -> None:
    """A rule of one repository is none of the other."""
    found = {one.repo: one.text for one in read_all_rule_files(join_sources(two), ["REVIEW.md"])}
    assert found == {"shop": "rules of shop", "api": "rules of api"}
    assert [one.repo for one in read_all_rule_files(two[0], ["REVIEW.md"])] == ["shop"]


def test_names_tell_folders_of_one_name_apart(tmp_path: Path) -> None:
    """team/app and other/app; a work tree, or a second range, is the same repository once more."""
    roots = [tmp_path / "one" / "app", tmp_path / "two" / "app", tmp_path / "lib"]
    for root in roots:
        root.parent.mkdir(exist_ok=True)
        Repository(root).commit({"a": "x"})
    sources = [f"git:{root}@HEAD..HEAD" for root in roots]
    assert list(name_repositories(sources).values()) == ["one/app", "two/app", "lib"]
    for again in (sources[0], f"git:{roots[0]}@since=7d"):
        with pytest.raises(SourceError, match="named twice"):
            check_source(join_sources([*sources, again]))


def test_a_list_is_of_repositories() -> None:
    """Anything else is alone; a path with a blank is one source."""
    with pytest.raises(ValueError, match=r"not a repository: a.jsonl;"):
        join_sources(["git:.@since=last", "a.jsonl"])
    assert join_sources(["a b.jsonl"]) == "a b.jsonl"
    assert split_sources("a git:b.jsonl") == ("a git:b.jsonl",)
    assert split_sources("git:a b@x..y  git:c@since=last") == ("git:a b@x..y", "git:c@since=last")


@pytest.mark.parametrize(
    ("text", "section"),
    [
        ("shop//a.py@1", "shop"),
        ("a.py@1", ""),
        ("https://x.test/a", ""),
        ("//a", ""),
        ("a//b//c", "a"),
    ],
)
def test_sections_of_ids(text: str, section: str) -> None:
    """What stands before the first //, but for URLs; there and back."""
    found = split_section(text)
    assert found.section == section
    assert in_section(*found) == text
