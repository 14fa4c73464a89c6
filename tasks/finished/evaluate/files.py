"""A finished run against the labels of its inputs -> evaluation.json and evaluation.md beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tasks.core.errors import SourceError
from tasks.core.files import atomic, write_json
from tasks.core.manifest import Manifest, checks_of, has_review
from tasks.core.paths import RunPaths
from tasks.core.records import Input, InputReview
from tasks.finished.derived import recording
from tasks.finished.evaluate.evaluation import Evaluation, score_run
from tasks.finished.evaluate.text import as_facts, as_markdown
from tasks.outputs.stored import input_of, review_of
from tasks.outputs.tables import read_reviews

__all__ = ["Evaluated", "evaluate_run"]


@dataclass(frozen=True, slots=True)
class Evaluated:
    """An evaluation, and the two forms in which it is stored."""

    result: Evaluation
    reviewed: bool
    """Whether the run had a review model."""
    facts: dict[str, Any]
    text: str


def evaluate_run(paths: RunPaths) -> Evaluated:
    """Score the run and write the two files. Memory does not grow with the run.

    Raises:
        OutputError: no finished run, or the files cannot be written.
        SourceError: no input of the run has labels and was reviewed.
    """
    with recording(paths, [paths.evaluation.name, paths.evaluation_json.name]) as manifest:
        return _evaluate(paths, manifest)


def _evaluate(paths: RunPaths, manifest: Manifest) -> Evaluated:
    settings = manifest["settings"]
    reviewed = has_review(settings)
    result = score_run(_rows(paths), checks_of(settings))
    if not result.scored_inputs:
        raise SourceError(_no_labels(paths, result))
    about = {name: manifest[name] for name in ("run_id", "source")}
    facts = about | as_facts(result, reviewed=reviewed)
    text = as_markdown(manifest["run_id"], result, reviewed=reviewed)
    write_json(paths.evaluation_json, facts, indent=True)
    with atomic(paths.evaluation) as file:
        file.write(text.encode())
    return Evaluated(result, reviewed, facts, text)


def _rows(paths: RunPaths) -> Iterator[tuple[Input, InputReview]]:
    # Matching looks at paths, lines and words of comments: the code stays on disk.
    for row in read_reviews(paths):
        yield input_of(row, ""), review_of(row)


def _no_labels(paths: RunPaths, result: Evaluation) -> str:
    if result.unscored_inputs:
        return f"{paths.place}: no labelled input was reviewed; run it again until it is complete"
    return (
        f"{paths.place} has no labelled input: give rows of the source a field `expected`, a list of "
        "defects with start_line and end_line, and [] for code known to be clean; then run it again"
    )
