"""Asks all of a request's prompts at once, and gives the answers as they finish."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

from service.answering.model_access import ModelAccess
from service.contracts.generation import Delta, Failure, GenerateResponse, GenerateSummary, Output, Usage
from service.contracts.language import LanguageProfile
from service.ending import end
from service.errors import explain
from service.generation.asks import Ask
from service.generation.outputs import logprobs_of, output, text_of
from service.languages.detect import DETECTOR

_AT_ONCE = 64


@dataclass(frozen=True)
class _Failed:
    ask: Ask
    error: Exception


_Event = Delta | Output | _Failed
_Emit = Callable[[Delta], None]


class Generation:
    """One accepted request. Its answers all come from `model`, though not always from one engine."""

    def __init__(
        self, access: ModelAccess, model: str, profile: LanguageProfile | None, asked: list[Ask]
    ) -> None:
        self._access, self._model, self._profile, self._asked = access, model, profile, asked

    async def answer(self) -> GenerateResponse:
        """All outputs, in the order of the prompts. Raises what the first prompt to fail raised."""
        outputs = []
        async with aclosing(self._events(self._complete)) as events:
            async for event in events:
                if isinstance(event, _Failed):
                    raise event.error
                if isinstance(event, Output):
                    outputs.append(event)
        return self._response(outputs)

    async def lines(self) -> AsyncGenerator[Output | Failure | GenerateSummary]:
        """Each output or failure as it comes, at last the summary."""
        usage = Usage()
        async with aclosing(self._events(self._complete)) as events:
            async for event in events:
                if isinstance(event, _Failed):
                    problem = explain(event.error).problem()
                    yield Failure(**event.ask.about.model_dump(), error=problem)
                elif isinstance(event, Output):
                    usage += event.usage
                    yield event
        yield self._summary(usage)

    async def pieces(self) -> AsyncGenerator[Delta | GenerateResponse]:
        """Pieces of text as they come, of all prompts at once, at last the response. Raises as answer()."""
        outputs = []
        async with aclosing(self._events(self._follow)) as events:
            async for event in events:
                if isinstance(event, _Failed):
                    raise event.error
                if isinstance(event, Output):
                    outputs.append(event)
                else:
                    yield event
        yield self._response(outputs)

    async def _events(self, work: Callable[[Ask, _Emit], Awaitable[Output]]) -> AsyncGenerator[_Event]:
        """What all asks come to, in no order: one Output or _Failed each, and what `work` emits before."""
        events: asyncio.Queue[_Event] = asyncio.Queue()
        slots = asyncio.Semaphore(_AT_ONCE)

        async def run(ask: Ask) -> None:
            async with slots:
                try:
                    events.put_nowait(await work(ask, events.put_nowait))
                except Exception as error:
                    events.put_nowait(_Failed(ask, error))

        tasks = [asyncio.create_task(run(ask)) for ask in self._asked]
        unfinished = len(tasks)
        try:
            while unfinished:
                event = await events.get()
                unfinished -= not isinstance(event, Delta)
                yield event
        finally:
            # The engines must be rid of the requests before this one counts as over.
            await end(*tasks)

    async def _complete(self, ask: Ask, emit: _Emit) -> Output:
        answer = await self._access.ask(self._model, ask.route, ask.body, ask.keep_alive)
        choice = answer["choices"][0]
        reason = choice["finish_reason"]
        return output(ask.about, text_of(choice), reason, answer.get("usage"), logprobs_of(choice))

    async def _follow(self, ask: Ask, emit: _Emit) -> Output:
        text, reason, usage, logprobs = "", "stop", None, None
        body = ask.body | {"stream_options": {"include_usage": True}}
        following = self._access.follow(self._model, ask.route, body, ask.keep_alive)
        async with aclosing(following) as payloads:
            async for payload in payloads:
                chunk = json.loads(payload)
                usage = chunk.get("usage") or usage
                for choice in chunk["choices"]:
                    reason = choice.get("finish_reason") or reason
                    logprobs = [*(logprobs or []), *(logprobs_of(choice) or [])] or None
                    piece = text_of(choice)
                    if piece:
                        text += piece
                        emit(Delta(**ask.about.model_dump(), model=self._model, text=piece))
        return output(ask.about, text, reason, usage, logprobs)

    def _response(self, outputs: list[Output]) -> GenerateResponse:
        outputs.sort(key=lambda item: (item.index, item.sample))
        summary = self._summary(sum((item.usage for item in outputs), Usage()))
        return GenerateResponse(**summary.model_dump(), outputs=outputs)

    def _summary(self, usage: Usage) -> GenerateSummary:
        return GenerateSummary(
            model=self._model,
            language=self._profile.tag if self._profile else None,
            language_detector=DETECTOR,
            usage=usage,
        )
