"""`nightly-review deploy SOURCE`: what this machine's nightly reviews, and when."""

from __future__ import annotations

from pathlib import Path

from deployments.local import FOLDER, Local, redeploy
from deployments.nightly import Nightly, absolute_source, local_zone
from flows.setup.config import read_config
from tasks.load.sources import check_source

__all__ = ["main"]


def main(source: str, config: str, cron: str, timezone: str | None, folder: Path | None) -> int:
    """Write the nightly to its file and deploy it to a server that runs; returns 0.

    `timezone`: None for this machine's. `folder`: None for data/state/prefect.

    Raises:
        UserError: source, configuration or cron cannot be used; nothing was written then.
        StateError: the server did not take it.
    """
    read_config(config)
    check_source(source)
    made = Nightly(
        source=absolute_source(source),
        config=str(Path(config).absolute()),
        cron=cron,
        timezone=timezone or local_zone(),
    )
    made.check()
    local = Local((folder or FOLDER).absolute())
    local.make_login()
    made.write(local.nightly)
    print(f"written  {local.nightly}: {made.source}, {made.cron} ({made.timezone})")
    if not redeploy(local):
        print("next: `nightly-review up` starts the server, and with it the schedule")
    return 0
