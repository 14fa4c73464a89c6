"""What all requests to the sandbox share."""

from __future__ import annotations

from dataclasses import dataclass, field

from deployments.sandbox.batch_store import SandboxBatchStore
from deployments.sandbox.bill import Bill
from deployments.sandbox.config import SandboxConfig
from deployments.sandbox.faults import FaultPicker
from deployments.sandbox.prompt_cache import PromptCache
from deployments.sandbox.request_log import KeyMeters, RequestLog

__all__ = ["SandboxState"]


@dataclass(slots=True)
class SandboxState:
    """Settings, log, meters and files: until the next change of settings, or for all but these, reset."""

    config: SandboxConfig
    log: RequestLog
    ring: KeyMeters
    picker: FaultPicker
    cache: PromptCache = field(default_factory=PromptCache)
    bill: Bill = field(default_factory=Bill)
    batches: SandboxBatchStore = field(default_factory=SandboxBatchStore)
