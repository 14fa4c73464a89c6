"""The script that one writes first: asyncio, one AsyncOpenAI per key, a semaphore."""

from __future__ import annotations

import asyncio

import openai
from work import Work, read_work


async def main(work: Work) -> None:
    clients = [
        openai.AsyncOpenAI(api_key=key, base_url=work.base_url, max_retries=0) for key in work.keys
    ]
    places = asyncio.Semaphore(work.in_flight)

    async def ask(number: int) -> tuple[str, str]:
        name, messages = work.questions[number]
        async with places:
            reply = await clients[number % len(clients)].chat.completions.create(
                model=work.model, messages=messages, **work.params
            )
        return name, reply.choices[0].message.content

    work.write(iter(await asyncio.gather(*map(ask, range(len(work.questions))))))


if __name__ == "__main__":
    asyncio.run(main(read_work()))
