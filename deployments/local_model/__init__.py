"""
A small real model on loopback, for the demo and for trying things without a key.

    nightly-review local-model --port 8081
    with local_model() as base_url: ...

SmolLM2-135M-Instruct by llama.cpp: loads in about a second, needs no network and 300 MB of memory.
The first start writes its weights anew, see weights.py: a second more, and 145 MB of disk.
It speaks the protocol well and reviews badly; real reviews need a real endpoint.
"""

from __future__ import annotations

from deployments.local_model.engine import MODEL, ModelOptions
from deployments.local_model.process import local_model

__all__ = ["MODEL", "ModelOptions", "local_model"]
