"""Names of the files of a run. Only names: nothing here touches the disk."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

__all__ = ["DERIVED", "RunPaths", "ShardPaths"]

DERIVED = (
    "digest.md", "evaluation.json", "evaluation.md", "github-review.json", "gl-code-quality.json",
    "review.md", "review.rdjsonl", "review.sarif",
)  # fmt: skip
"""Exports and evaluation of a finished run: beside the outputs of another one they would be wrong."""

_TABLES = ("reviews.parquet", "comments.parquet", "calls.parquet")


class _Inside:
    """A file or folder by its name in one of its owner's folders."""

    def __init__(self, name: str, folder: str = "root") -> None:
        self._name = name
        self._folder = folder

    def __get__(self, owner: ShardPaths | RunPaths, kind: type | None = None) -> Path:
        folder: Path = getattr(owner, self._folder)
        return folder / self._name


@dataclass(frozen=True, slots=True)
class ShardPaths:
    """The folder of one shard; everything its process needs and leaves is here."""

    root: Path

    @property
    def number(self) -> int:
        """The shard's number, from 0."""
        return int(self.root.name.removeprefix("shard-"))

    @property
    def settings(self) -> Path:
        """The run's settings and switches, for the shard's process."""
        return self.root.parent / "run.json"

    inputs = _Inside("inputs.jsonl")
    """Inputs of the shard, sorted by input_id, one JSON object a line."""
    progress = _Inside("progress.json")
    """Counts so far, replaced about once a second."""
    done = _Inside("done.json")
    """Completion marker: there only when every slice was written."""
    flow_run = _Inside("flow_run.txt")
    """Id of the flow run that works on the shard."""
    exit_report = _Inside("exit_report.json")
    """Why the shard's process gave up; blank as long as it has not."""
    questions = _Inside("questions.jsonl")
    """What the shard's inputs ask and the journal does not answer, of the last collecting pass."""
    collected = _Inside("collected.json")
    """What the last collecting pass has met, as counts."""

    def part(self, first: int) -> Path:
        """Reviews of the slice that starts at input `first`; parts sort like their inputs."""
        return self.root / f"part-{first:08d}.jsonl"


@dataclass(frozen=True, slots=True)
class RunPaths:
    """The output folder of a run."""

    root: Path
    url: str | None = None
    """Where the finished outputs are copied to; None: they stay in `root` only."""
    run_id: str = field(default="", compare=False)
    """The run at work here: what a killed one has left at work writes into another folder."""
    home: Path | None = None
    """The folder that has the work folder; None: `root`."""

    @property
    def place(self) -> str:
        """The outputs' location for messages: the URL if there is one, else the folder."""
        return self.url or str(self.root)

    def display_path(self, name: str) -> str:
        """The location of the output `name` for messages: a URL, or an absolute path."""
        return f"{self.place}/{name}"

    @property
    def staged(self) -> RunPaths:
        """The run with its outputs in the work folder, where they stay until all are whole."""
        home = self.home or self.root
        return replace(self, root=self.work / "outputs", url=self.place, home=home)

    def foreign_files(self, names: Iterable[str]) -> list[str]:
        """Those of `names`, files of the folder, that no run and nothing of ours writes; sorted."""
        ours = {
            *(one.name for one in (self.manifest, self.report, self.html, self.reviews_json)),
            *(one.name for one in (self.rejected, self.lock, self.previous, self.range_file)),
            *(*_TABLES, *self.optional_files, self.all_work.name, self.fresh_file.name),
        }
        whole = ((name, re.sub(r"\.\d+\.tmp$", "", name)) for name in names)
        return sorted(name for name, target in whole if target not in ours)

    @property
    def all_work(self) -> Path:
        """The work folders of the present run and of killed ones; gone when a run is complete."""
        return (self.home or self.root) / ".work"

    @property
    def work(self) -> Path:
        """Folder of the files that only the run itself needs."""
        return self.all_work / self.run_id

    previous = _Inside(".previous")
    """Copy of the earlier run, when it is in storage; gone when the run is complete."""
    lock = _Inside(".lock")
    """Held by the run that writes here."""
    range_file = _Inside(".range.json")
    """The commits of a run of a repository that has not ended complete."""
    fresh_file = _Inside(".fresh.json")
    """When a run with --fresh that has not ended complete began."""
    inputs = _Inside("inputs.jsonl", "work")
    """Accepted rows in source order, one JSON object a line."""
    index = _Inside("index.jsonl", "work")
    """Per accepted row: input_id, offset and length in `inputs`, estimated tokens."""
    planted = _Inside("planted.json", "work")
    """The canaries among `inputs`: their ids there, with those that they have in their own file."""
    settings = _Inside("run.json", "work")
    """The run's settings and switches, for the shards' processes."""
    merged = _Inside("merged.jsonl", "work")
    """Input and review of every input, sorted by input_id, one JSON object a line."""
    rejected = _Inside("rejected.jsonl")
    """Rows that were no inputs, with number and reason."""
    carried = _Inside("carried.jsonl")
    """Findings of earlier runs that are open and that the run did not look at, one a line."""
    canaries = _Inside("canaries.jsonl")
    """Input and review of every canary, one JSON object a line; only where there are canaries."""

    @property
    def optional_files(self) -> tuple[str, ...]:
        """Files that a run may have beside its outputs, and that go when the next one has none."""
        return (self.carried.name, self.canaries.name, *DERIVED)

    manifest = _Inside("manifest.json")
    """Settings and counts of the run, and the checksums of its outputs."""
    report = _Inside("report.md")
    """The report as Markdown."""
    html = _Inside("report.html")
    """The report as one page."""
    evaluation = _Inside("evaluation.md")
    """The run against its labels, as Markdown."""
    evaluation_json = _Inside("evaluation.json")
    """The same evaluation as figures."""
    reviews_json = _Inside("reviews.json")
    """One JSON object: input_id -> the input with `output_pred`."""

    def table(self, name: str) -> Path:
        """A Parquet output: reviews, comments or calls."""
        return self.root / f"{name}.parquet"

    def shard(self, number: int) -> ShardPaths:
        """The folder of one shard."""
        return ShardPaths(self.work / f"shard-{number:03d}")
