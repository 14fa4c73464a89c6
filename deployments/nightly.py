"""
What the nightly reviews on this machine, and when: a file beside the server's database.

    source: git:/srv/shop@since=last      absolute, as every path in it: runs start at the project root
    config: /srv/review.toml
    cron: 30 1 * * *
    timezone: Europe/Berlin

`nightly-review deploy SOURCE` writes it. Until then the deployment has neither source nor schedule.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import yaml
from prefect.client.schemas.schedules import CronSchedule
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.core.errors import ConfigError
from tasks.core.files import atomic
from tasks.core.git_source import GIT_PREFIX, parse_git_source, split_sources

__all__ = ["CRON", "Nightly", "absolute_source", "local_zone", "with_nightly"]

CRON = "30 1 * * *"
_ZONE = Path("/etc/localtime")


class Nightly(BaseModel):
    """One machine's nightly."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str = Field(min_length=1)
    config: str = Field(min_length=1)
    cron: str = CRON
    timezone: str = "UTC"

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """The nightly in a file; None: there is no such file.

        Raises:
            ConfigError: it is not of the form above.
        """
        try:
            made = cls.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, yaml.YAMLError, ValidationError) as error:
            msg = f"{path} cannot be used, `nightly-review deploy SOURCE` writes it anew: {error}"
            raise ConfigError(msg) from None
        made.check()
        return made

    def check(self) -> None:
        """Raise ConfigError when cron or timezone is none."""
        try:
            CronSchedule(cron=self.cron, timezone=self.timezone)
        except ValidationError as error:
            said = error.errors()[0]["msg"]
            msg = (
                f'--cron {self.cron!r} --timezone {self.timezone!r}: {said}; write as "30 1 * * *"'
            )
            raise ConfigError(msg) from None

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        text = "# Written by `nightly-review deploy`. Yours: an upgrade leaves it alone.\n"
        with atomic(path) as file:
            file.write((text + yaml.safe_dump(self.model_dump(), sort_keys=False)).encode())


def with_nightly(project: Mapping[str, Any], nightly: Nightly | None) -> dict[str, Any]:
    """The deployments of a prefect.yaml, with source and schedule in the one called nightly."""
    if nightly is None:
        return dict(project)
    schedule = {"slug": "nightly", "cron": nightly.cron, "timezone": nightly.timezone}
    ours = {
        "parameters": {"source": nightly.source, "config": nightly.config},
        "schedules": [schedule | {"active": True}],
    }
    deployments = [
        one | ours if one["name"] == "nightly" else one for one in project["deployments"]
    ]
    return {**project, "deployments": deployments}


def absolute_source(source: str) -> str:
    """SOURCE as it is found from every folder."""
    if not source.startswith(GIT_PREFIX):
        return str(Path(source).absolute())
    asked = map(parse_git_source, split_sources(source))
    return " ".join(f"{GIT_PREFIX}{Path(one.folder).absolute()}@{one.wanted}" for one in asked)


def local_zone() -> str:
    """Name of the time zone of this machine; UTC where it has none."""
    _, found, name = str(_ZONE.resolve()).partition("/zoneinfo/")
    return name if found else "UTC"
