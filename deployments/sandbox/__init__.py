"""An OpenAI-compatible upstream on loopback, with quotas and faults, to test and rehearse with."""

from __future__ import annotations

from deployments.sandbox.batch_settings import BatchFault
from deployments.sandbox.config import SandboxConfig
from deployments.sandbox.faults import Fault
from deployments.sandbox.process import Sandbox, start_sandbox

__all__ = ["BatchFault", "Fault", "Sandbox", "SandboxConfig", "start_sandbox"]
