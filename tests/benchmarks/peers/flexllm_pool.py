"""flexllm: a pool of endpoints that share one queue, with its own checkpoint file."""

from __future__ import annotations

import asyncio

from flexllm import LLMClientPool
from work import Work, read_work


async def main(work: Work) -> None:
    share = max(1, work.in_flight // len(work.keys))
    endpoints = [
        {"base_url": work.base_url, "api_key": key, "model": work.model, "concurrency_limit": share}
        for key in work.keys
    ]
    pool = LLMClientPool(endpoints=endpoints, provider="openai")
    await pool.chat_completions_batch(
        [messages for _, messages in work.questions],
        output_jsonl=str(work.output),
        show_progress=False,
        **work.params,
    )
    await pool.aclose()


if __name__ == "__main__":
    asyncio.run(main(read_work()))
