"""Where a browser finds the report of a run, when its folder is served; see deployments.run_pages."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from tasks.core.paths import RunPaths

__all__ = ["REPORTS_FOLDER", "REPORTS_URL", "report_link"]

REPORTS_URL = "NIGHTLY_REVIEW_REPORTS_URL"
REPORTS_FOLDER = "NIGHTLY_REVIEW_REPORTS_FOLDER"
"""Variables that `nightly-review up` gives to its worker, and the worker to its runs."""


def report_link(paths: RunPaths, environment: Mapping[str, str] = os.environ) -> str | None:
    """The URL of the run's report; None: nobody serves its folder."""
    url, folder = environment.get(REPORTS_URL), environment.get(REPORTS_FOLDER)
    root = paths.root.resolve()
    if not url or not folder or not root.is_relative_to(Path(folder).resolve()):
        return None
    place = root.relative_to(Path(folder).resolve()).as_posix()
    return f"{url}/{quote(place)}/{paths.html.name}"
