"""LiteLLM's Router: a deployment per key; the loop, the semaphore and the output are the user's."""

from __future__ import annotations

import asyncio

from litellm import Router
from work import Work, read_work


async def main(work: Work) -> None:
    where = {"model": f"openai/{work.model}", "api_base": work.base_url}
    router = Router(
        model_list=[
            {"model_name": "m", "litellm_params": {**where, "api_key": key}} for key in work.keys
        ],
        num_retries=0,
    )
    places = asyncio.Semaphore(work.in_flight)

    async def ask(question: tuple[str, list[dict[str, str]]]) -> tuple[str, str]:
        async with places:
            reply = await router.acompletion(model="m", messages=question[1], **work.params)
        return question[0], reply.choices[0].message.content

    work.write(iter(await asyncio.gather(*map(ask, work.questions))))


if __name__ == "__main__":
    asyncio.run(main(read_work()))
