"""Asks an OpenAI-compatible chat endpoint, many questions at a time. What fails costs its own answer only."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from groupwise.rewards.scoring import Failed

Reply = str | Failed

PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds before the second try, doubled for each one after it; and the most, whatever a server asks for."""
STRIKES = 5
"""Questions in a row that stay without an answer, after which those that are left are not asked."""
LONGEST = 4 << 20
"""Bytes of a reply; one that is longer is not read to its end."""
AGAIN = (408, 409, 425, 429)
"""HTTP statuses below 500 after which another try can help."""


class EndpointError(ValueError):
    """An endpoint that cannot be used: told before a run begins, with the way out."""


@dataclass(slots=True)
class Round:
    """What one call of `ask` has seen so far."""

    calls: int = 0
    strikes: int = 0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A served model. Needs httpx2 (extra `judge`)."""

    url: str
    """Without /chat/completions, such as http://localhost:8000/v1."""
    model: str
    key_variable: str | None = None
    """The environment variable that holds the key; the key itself is read for each call and never kept."""
    timeout: float = 60.0
    """Seconds that one try may take."""
    retries: int = 2
    """Tries after the first, on a timeout, a broken connection, a busy server and HTTP 5xx."""
    concurrency: int = 8
    """Questions under way at the same time."""
    request: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of every request, such as temperature."""

    def check(self) -> None:
        """Ask one small question, so that what is wrong is told before long work.

        Raises:
            EndpointError: it does not answer, refuses the key or does not know the model.
        """
        if importlib.util.find_spec("httpx2") is None:
            raise EndpointError("a judge behind an endpoint needs httpx2: pip install -e '.[judge]'.")
        if self.key_variable is not None and not os.environ.get(self.key_variable):
            raise EndpointError(f"the judge's key is read from ${self.key_variable}, which is not set.")
        (reply,), _ = asyncio.run(self.ask(["Reply with the one word: ready"]))
        if isinstance(reply, Failed):
            key = (
                "no key is sent" if self.key_variable is None else f"the key is that in ${self.key_variable}"
            )
            raise EndpointError(
                f"the judge {self.model!r} at {self._place} cannot be asked: "
                f"{reply.reason.removeprefix('endpoint: ')}. Start the server, or correct the address or the "
                f"model's name ({key}); {self.url.rstrip('/')}/models usually lists the names."
            )

    async def ask(self, questions: Sequence[str]) -> tuple[list[Reply], int]:
        """The reply to each question, and the number of requests that were sent. Equal ones are asked once.

        Failed("endpoint: ...") for one without a reply after all tries, and for all that are left after
        `STRIKES` such in a row: an endpoint that has gone does not hold up the run.
        """
        import httpx2

        gate, seen = asyncio.Semaphore(self.concurrency), Round()
        limits = httpx2.Limits(max_connections=self.concurrency)
        async with httpx2.AsyncClient(headers=self._headers(), timeout=None, limits=limits) as client:

            async def one(question: str) -> Reply:
                async with gate:
                    return await self._reply(client, question, seen)

            different = list(dict.fromkeys(questions))
            replies = dict(zip(different, await asyncio.gather(*map(one, different)), strict=True))
        return [replies[question] for question in questions], seen.calls

    @property
    def _place(self) -> str:
        return f"{self.url.rstrip('/')}/chat/completions"

    def _headers(self) -> dict[str, str]:
        key = os.environ.get(self.key_variable, "") if self.key_variable else ""
        return {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})

    async def _reply(self, client: Any, question: str, seen: Round) -> Reply:
        if seen.strikes >= STRIKES:
            return Failed(f"endpoint: given up after {STRIKES} questions in a row without an answer")
        body = {"model": self.model, "messages": [{"role": "user", "content": question}], **self.request}
        what, wait = "", PAUSE
        for attempt in range(1 + self.retries):
            if attempt:
                await asyncio.sleep(min(wait, LONGEST_PAUSE))
            seen.calls += 1
            reply, what, asked_for = await self._once(client, json.dumps(body))
            if reply is not None:
                seen.strikes = 0
                return reply
            if asked_for is None:
                break
            wait = max(PAUSE * 2**attempt, asked_for)
        seen.strikes += 1
        return Failed(f"endpoint: {what}")

    async def _once(self, client: Any, body: str) -> tuple[str | None, str, float | None]:
        """(the reply or None, what went wrong, seconds to wait before another try; None: it cannot help)."""
        import httpx2

        try:
            async with asyncio.timeout(self.timeout):
                status, headers, data = await _posted(client, self._place, body)
        except TimeoutError:
            return None, f"no reply within {self.timeout:g} s", 0.0
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            return None, f"{type(error).__name__} {error}".strip(), 0.0
        said = data[:200].decode("utf-8", "replace")
        if status != 200:
            helps = status in AGAIN or status >= 500
            what = f"HTTP {status} {said}".strip()
            return None, what, _seconds(headers.get("retry-after")) if helps else None
        if len(data) > LONGEST:
            return None, f"a reply of more than {LONGEST} bytes", None
        try:
            content = json.loads(data)["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError, RecursionError):
            return None, f"a reply that is not OpenAI's: {said}", None
        return content if isinstance(content, str) else "", "", None


async def _posted(client: Any, place: str, body: str) -> tuple[int, Mapping[str, str], bytes]:
    """Status, headers and body; of a body that is too long a little more than may be."""
    data = bytearray()
    async with client.stream("POST", place, content=body) as response:
        async for piece in response.aiter_bytes():
            data += piece
            if len(data) > LONGEST:
                break
    return response.status_code, response.headers, bytes(data)


def _seconds(header: str | None) -> float:
    """What a server asks to wait; 0 where it says nothing, or gives a date."""
    return float(header) if header is not None and header.isascii() and header.isdigit() else 0.0
