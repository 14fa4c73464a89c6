"""`nightly-review up`: a local Prefect server, a worker and the deployments. Doing it twice changes nothing."""

from __future__ import annotations

from pathlib import Path

from deployments.local import FOLDER, REPORTS, Local, bring_up

__all__ = ["main"]

_NEXT = """
next:
  export DO_NOT_TRACK=1                             # or `prefect` asks its makers' host
  export PREFECT_API_URL={api}
  export PREFECT_API_AUTH_STRING="$(cat {login})"   # the browser asks for the same
  prefect deployment run bulk-review/adhoc --param source=data/samples/samples.jsonl --watch
  nightly-review deploy git:PATH@since=last --config FILE    # what to review every night, and when
The worker passes on the variables that were exported when it was started: export the keys that
review.toml names before that, or keep them in Secret blocks.
"""


def main(
    folder: Path | None,
    port: int | None,
    runs: int,
    reports: Path | None,
    reports_port: int | None,
) -> int:
    """Bring server, worker and deployments up and say what comes next; returns 0.

    `folder`: None for data/state/prefect. `port`: None for that of server.env. `runs`: flow runs at
    a time, of a pool that is made now. `reports`: folder of runs to serve, None for data/runs, on
    `reports_port`, None for the one after `port`.

    Raises:
        ReviewError: something did not come up; the message says what, and where its log is.
    """
    served = (reports or REPORTS).absolute()
    local = Local((folder or FOLDER).absolute(), port, runs, served, reports_port)
    bring_up(local)
    print(_NEXT.format(api=local.api, login=local.login))
    return 0
