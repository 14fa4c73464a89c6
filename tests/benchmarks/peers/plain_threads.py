"""The same with threads: one OpenAI client per key, kept, and a thread pool."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import openai
from work import Work, read_work


def main(work: Work) -> None:
    clients = [
        openai.OpenAI(api_key=key, base_url=work.base_url, max_retries=0) for key in work.keys
    ]

    def ask(number: int) -> tuple[str, str]:
        name, messages = work.questions[number]
        reply = clients[number % len(clients)].chat.completions.create(
            model=work.model, messages=messages, **work.params
        )
        return name, reply.choices[0].message.content

    with ThreadPoolExecutor(work.in_flight) as threads:
        work.write(threads.map(ask, range(len(work.questions))))


if __name__ == "__main__":
    main(read_work())
