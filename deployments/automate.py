"""
Automations from YAML files, made or brought up to date by name.

    nightly-review automate deployments/automations/rerun_incomplete.yaml

A file is what `prefect automation create --from-file` takes, with two words replaced first:
$lost_after by seconds, $adhoc_id and $nightly_id by the ids of the deployments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template

import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound
from pydantic import ValidationError

from tasks.core.errors import ConfigError

__all__ = ["install", "install_automation", "main"]

_DEPLOYMENTS = {"nightly_id": "bulk-review/nightly", "adhoc_id": "bulk-review/adhoc"}


def install(client: SyncPrefectClient, path: Path, words: Mapping[str, str]) -> str:
    """Make the automation in the file `path`, or update the one of its name; returns the name.

    One that is as wanted is left alone: an update makes the server forget what it waits for.

    Raises:
        ConfigError: not an automation, or it has a $word that is not in `words`.
    """
    return install_automation(client, _read(path, words))


def install_automation(client: SyncPrefectClient, wanted: AutomationCore) -> str:
    """Make an automation, or update the one of its name if it differs; returns the name."""
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


def main(files: Sequence[Path], lost_after: int) -> int:
    """Install each file; `lost_after` is in seconds. Returns 0.

    Raises:
        ConfigError: a file is wrong, or the deployments are not there.
    """
    with get_client(sync_client=True) as client:
        words = {"lost_after": str(lost_after), **_deployment_ids(client)}
        for path in files:
            print(f"installed  {install(client, path, words)}")
    return 0
