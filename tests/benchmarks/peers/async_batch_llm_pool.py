"""async-batch-llm: a batch per key, since it binds a question to one; with its own checkpoint file."""

from __future__ import annotations

import asyncio

from async_batch_llm import ArtifactIdentity, JsonlArtifactStore, process_prompts
from async_batch_llm.llm_strategies import OpenAIStrategy
from async_batch_llm.models import OpenAICompatibleModel
from work import Work, read_work


async def batch(work: Work, number: int) -> int:
    mine = work.questions[number :: len(work.keys)]
    share = max(1, work.in_flight // len(work.keys))
    model = OpenAICompatibleModel.from_api_key(
        work.model,
        api_key=work.keys[number],
        base_url=work.base_url,
        system_instruction=mine[0][1][0]["content"],
        extra_body=work.params,
        max_connections=share,
    )
    identity = ArtifactIdentity(provider="benchmark", model=work.model)
    path = work.output.with_suffix(f".{number}.jsonl")
    done = await process_prompts(
        OpenAIStrategy(model),
        [messages[-1]["content"] for _, messages in mine],
        concurrency=share,
        artifact_store=JsonlArtifactStore(path, identity=identity),
    )
    return done.succeeded


async def main(work: Work) -> None:
    done = await asyncio.gather(*(batch(work, number) for number in range(len(work.keys))))
    if sum(done) != len(work.questions):
        msg = f"{sum(done)} of {len(work.questions)} succeeded"
        raise RuntimeError(msg)


if __name__ == "__main__":
    asyncio.run(main(read_work()))
