"""
Automations from YAML files, made or brought up to date by name.

    python -m deployments.automate deployments/automations/rerun_incomplete.yaml

A file is what `prefect automation create --from-file` takes, with two words replaced first:
$lost_after by seconds, $adhoc_id and $nightly_id by the ids of the deployments.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from string import Template

import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound
from pydantic import ValidationError

from tasks.core.errors import ConfigError, ReviewError

__all__ = ["install", "main"]

_DEPLOYMENTS = {"nightly_id": "bulk-review/nightly", "adhoc_id": "bulk-review/adhoc"}


def install(client: SyncPrefectClient, path: Path, words: Mapping[str, str]) -> str:
    """Make the automation in the file `path`, or update the one of its name; returns the name.

    One that is as wanted is left alone: an update makes the server forget what it waits for.

    Raises:
        ConfigError: not an automation, or it has a $word that is not in `words`.
    """
    wanted = _read(path, words)
    found = client.read_automations_by_name(wanted.name)
    if not found:
        client.create_automation(wanted)
    elif found[0].model_dump(include=set(AutomationCore.model_fields)) != wanted.model_dump():
        client.update_automation(found[0].id, wanted)
    return wanted.name


def _read(path: Path, words: Mapping[str, str]) -> AutomationCore:
    try:
        text = Template(path.read_text(encoding="utf-8")).substitute(words)
        return AutomationCore.model_validate(yaml.safe_load(text))
    except (OSError, KeyError, yaml.YAMLError, ValidationError) as error:
        msg = f"{path} is no automation that can be installed: {error}"
        raise ConfigError(msg) from None


def _deployment_ids(client: SyncPrefectClient) -> dict[str, str]:
    ids = {}
    for word, name in _DEPLOYMENTS.items():
        try:
            ids[word] = str(client.read_deployment_by_name(name).id)
        except ObjectNotFound:
            msg = f"there is no deployment {name} yet: run `make up` first"
            raise ConfigError(msg) from None
    return ids


def main(arguments: list[str] | None = None) -> int:
    """Exit code 2: a file is wrong, or the deployments are not there."""
    parser = argparse.ArgumentParser(
        prog="python -m deployments.automate", description="Install automations from YAML files."
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--lost-after", default="180", metavar="SECONDS", help="default: 180")
    options = parser.parse_args(arguments)
    try:
        with get_client(sync_client=True) as client:
            words = {"lost_after": options.lost_after, **_deployment_ids(client)}
            for path in options.files:
                print(f"installed  {install(client, path, words)}")
    except ReviewError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
