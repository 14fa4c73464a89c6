"""Is a run any good? Its findings against the labels of its inputs, as a flow with an artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from prefect import State, flow
from prefect.artifacts import create_markdown_artifact
from prefect.states import Completed, Failed
from pydantic import Field

from flows.ui.run_display import REFUSED
from tasks.core.errors import UserError
from tasks.core.paths import RunPaths
from tasks.finished.evaluate.files import evaluate_run
from tasks.finished.evaluate.text import verdict

__all__ = ["evaluate"]


@flow(name="evaluate", flow_run_name="evaluate {folder}", persist_result=False)
def evaluate(folder: Annotated[str, Field(min_length=1)]) -> State[Any]:
    """Score a finished run against its labels: precision, recall, F1, filter lift, worth of checks.

    All of it by place, and by place and matter.

    Args:
        folder: Output folder of a finished run whose source has the field `expected`.
    """
    try:
        found = evaluate_run(RunPaths(Path(folder).absolute()))
    except UserError as error:
        return Failed(message=f"{REFUSED}{error}")
    sentence = verdict(found.result)
    create_markdown_artifact(found.text, key="bulk-review-evaluation", description=sentence)
    return Completed(message=sentence)
