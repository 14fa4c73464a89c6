"""
Several repositories as one source: their rows one after the other, each in its section.

The name of a section is the repository's folder, with the one above it where two are called alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from tasks.core.errors import RowError, SourceError
from tasks.core.git_source import parse_git_source, split_sources
from tasks.core.sections import in_section
from tasks.core.selection import GitOptions
from tasks.core.team_rules import RuleFile
from tasks.load.sources.git.command import Git
from tasks.load.sources.git.rule_files import read_rule_files
from tasks.load.sources.git.source import read_git, repository_folder
from tasks.load.sources.numbered import NumberedRow

__all__ = ["name_repositories", "read_all_rule_files", "read_repositories"]


def name_repositories(sources: Sequence[str]) -> dict[str, str]:
    """Git source -> the name of its section, in their order.

    Raises:
        SourceError: no git, no repository, or one of them is named twice.
    """
    folders = {one: repository_folder(Git(parse_git_source(one).folder)) for one in sources}
    twice = [folder for folder, count in Counter(folders.values()).items() if count > 1]
    if twice or len(folders) < len(sources):
        place = twice[0] if twice else next(iter(folders.values()))
        msg = f"{place} is named twice: a run reviews one range of each repository"
        raise SourceError(msg)
    places = set(folders.values())
    return {one: _name(folder, places - {folder}) for one, folder in folders.items()}


def read_repositories(source: str, options: GitOptions) -> Iterator[NumberedRow]:
    """The rows of every repository; ids and `repo` carry the names of their sections.

    Raises:
        SourceError: one of the repositories cannot be read.
    """
    number = 0
    for one, name in name_repositories(split_sources(source)).items():
        for read in read_git(one, options):
            number += 1
            row = read.row
            if not isinstance(row, RowError):
                row |= {"repo": name, "input_id": in_section(name, row["input_id"])}
            yield NumberedRow(number, row, in_section(name, read.snippet))


def read_all_rule_files(source: str, names: Sequence[str]) -> list[RuleFile]:
    """The rules of each repository of a source; see `read_rule_files`."""
    sources = split_sources(source)
    if len(sources) == 1:
        return read_rule_files(source, names)
    return [
        RuleFile(name, found.path, found.text, found.changed)
        for one, name in name_repositories(sources).items()
        for found in read_rule_files(one, names)
    ]


def _name(folder: Path, others: Collection[Path]) -> str:
    """The fewest last steps of a path that no other one ends in."""
    counts = range(1, len(folder.parts) + 1)
    steps = next(n for n in counts if all(one.parts[-n:] != folder.parts[-n:] for one in others))
    return "/".join(folder.parts[-steps:]).replace(":", "_")
