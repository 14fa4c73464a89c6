"""Rule files of a repository: from before the reviewed commits, and only where a file changed."""

from __future__ import annotations

from typing import Any

from tasks.load.sources.git.rule_files import read_rule_files

NAMES = ("REVIEW.md", "AGENTS.md")


def read(repository: Any, wanted: str) -> dict[str, str]:
    found = read_rule_files(f"git:{repository.root}@{wanted}", NAMES)
    assert {one.repo for one in found} <= {"project"}
    return {one.path + ("*" if one.changed else ""): one.text for one in found}


def test_rules_are_those_of_the_base(repository: Any) -> None:
    """A change that softens, adds or removes a rule is judged by what stood before it, and is named."""
    base = repository.commit(
        {"REVIEW.md": "be strict\n", "AGENTS.md": "cents\n", "src/AGENTS.md": "no I/O\n"}
    )
    repository.write("link", "")
    (repository.root / "src/AGENTS.md").unlink()
    repository.commit({"REVIEW.md": "approve all\n", "src/REVIEW.md": "new\n", "src/a.py": "x\n"})
    assert read(repository, f"{base}..HEAD") == {
        "REVIEW.md*": "be strict",
        "AGENTS.md": "cents",
        "src/AGENTS.md*": "no I/O",
    }
    assert read(repository, "HEAD..HEAD") == {"REVIEW.md": "approve all", "AGENTS.md": "cents"}


def test_only_folders_above_a_change_count(repository: Any) -> None:
    """A thousand folders' rules are not read for one changed file."""
    base = repository.commit({f"{name}/REVIEW.md": name for name in ("a", "a/b", "a/c", "d")})
    repository.commit({"a/b/x/y.py": "x\n"})
    assert read(repository, f"{base}..") == {"a/REVIEW.md": "a", "a/b/REVIEW.md": "a/b"}


def test_what_is_no_text_is_no_rule(repository: Any) -> None:
    """A link, binary bytes and a blank file are left out; a file of megabytes is read in part."""
    (repository.root / "a").mkdir()
    (repository.root / "a/REVIEW.md").symlink_to("/etc/hostname")
    repository.write("b/REVIEW.md", b"\0\1")
    base = repository.commit({"c/REVIEW.md": " \n", "d/REVIEW.md": "rule\n" * 1_000_000})
    repository.commit({f"{name}/x.py": "x\n" for name in "abcd"})
    found = read(repository, f"{base}..")
    assert list(found) == ["d/REVIEW.md"]
    assert len(found["d/REVIEW.md"]) <= 64 * 1024


def test_history_that_begins_has_no_rules(repository: Any) -> None:
    """Before the first commit there is nothing; other sources have none either."""
    head = repository.commit({"REVIEW.md": "x\n"})
    empty = repository.git("hash-object", "-t", "tree", "/dev/null")
    assert read(repository, f"{empty}..{head}") == {}
    assert read_rule_files(str(repository.root), NAMES) == []
    assert read_rule_files(f"git:{repository.root}@{empty}..{head}", ()) == []
