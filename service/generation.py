"""POST /generate behind the route: prompts to chat requests, answers with the language that they are in."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from service.contracts.generation import Delta, GenerateRequest, GenerateResponse, Message, Output, Usage
from service.contracts.problem import FieldProblem
from service.engine_client import EngineClient
from service.errors import ProblemError
from service.languages.detect import DETECTOR, detect
from service.languages.profile import Profile

_ROUTE = "/v1/chat/completions"
_AT_ONCE = 64


class Generation:
    """One accepted request on one leased engine."""

    def __init__(
        self, engine: EngineClient, model: str, request: GenerateRequest, profile: Profile | None
    ) -> None:
        self._engine, self._model, self._request, self._profile = engine, model, request, profile
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def answer(self) -> GenerateResponse:
        """All outputs, in the order of the prompts. Raises ProblemError."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._complete(i, body)) for i, body in enumerate(self._bodies())]
        return self._respond([task.result() for task in tasks])

    async def stream(self) -> AsyncGenerator[Delta | GenerateResponse]:
        """Pieces of text as they come, from all prompts at once; at the end the whole response."""
        events: asyncio.Queue[Delta | Output | BaseException] = asyncio.Queue()
        bodies = self._bodies()
        tasks = [asyncio.create_task(self._follow(i, body, events)) for i, body in enumerate(bodies)]
        outputs: list[Output] = []
        try:
            while len(outputs) < len(bodies):
                event = await events.get()
                if isinstance(event, BaseException):
                    raise event
                if isinstance(event, Output):
                    outputs.append(event)
                else:
                    yield event
        finally:
            for task in tasks:
                task.cancel()
            # The engine must be rid of the requests before the lease ends.
            await asyncio.gather(*tasks, return_exceptions=True)
        yield self._respond(sorted(outputs, key=lambda output: output.index))

    def _bodies(self) -> list[dict[str, Any]]:
        request = self._request
        prompts = request.prompts or ([request.prompt] if request.prompt is not None else [])
        conversations = [[Message(role="user", content=prompt)] for prompt in prompts]
        if request.messages is not None:
            conversations = [request.messages]
        sampling: dict[str, Any] = {
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
        }
        if request.seed is not None:
            sampling["seed"] = request.seed
        if request.stop:
            sampling["stop"] = request.stop
        return [{"messages": with_instruction(item, self._profile), **sampling} for item in conversations]

    async def _complete(self, index: int, body: dict[str, Any]) -> Output:
        async with self._slots:
            answer = await self._engine.post(_ROUTE, body)
        choice = answer["choices"][0]
        text = choice["message"]["content"] or ""
        return _output(index, text, choice["finish_reason"], answer["usage"])

    async def _follow(
        self, index: int, body: dict[str, Any], events: "asyncio.Queue[Delta | Output | BaseException]"
    ) -> None:
        text, reason = "", "stop"
        usage: dict[str, Any] = {}
        try:
            async with self._slots:
                payloads = self._engine.stream(_ROUTE, body | {"stream_options": {"include_usage": True}})
                async with aclosing(payloads):
                    async for payload in payloads:
                        chunk = json.loads(payload)
                        usage = chunk.get("usage") or usage
                        for choice in chunk["choices"]:
                            reason = choice.get("finish_reason") or reason
                            piece = choice["delta"].get("content") or ""
                            if piece:
                                text += piece
                                await events.put(Delta(model=self._model, index=index, text=piece))
            await events.put(_output(index, text, reason, usage))
        except Exception as error:
            await events.put(error)

    def _respond(self, outputs: list[Output]) -> GenerateResponse:
        return GenerateResponse(
            model=self._model,
            language=self._profile.tag if self._profile else None,
            language_detector=DETECTOR,
            outputs=outputs,
            usage=sum((output.usage for output in outputs), Usage()),
        )


def with_instruction(messages: list[Message], profile: Profile | None) -> list[dict[str, str]]:
    """The conversation with the language's instruction before it, unless it has a system message itself."""
    plain = [message.model_dump() for message in messages]
    if profile is None or any(message.role == "system" for message in messages):
        return plain
    return [{"role": "system", "content": profile.instruction}, *plain]


def check_length(max_tokens: int, context: int, field: str = "max_tokens") -> None:
    """Raises ProblemError before anything is loaded for a request that can't fit."""
    if max_tokens >= context:
        detail = f"{field} is {max_tokens}; the context, prompt included, has {context} tokens"
        problem = FieldProblem(pointer=f"/{field}", detail=detail)
        raise ProblemError(422, "context-length-exceeded", detail, errors=[problem])


def _output(index: int, text: str, reason: str, usage: dict[str, Any]) -> Output:
    return Output(
        index=index,
        text=text,
        detected_language=detect(text),
        finish_reason=reason,
        usage=Usage(
            prompt_tokens=usage.get("prompt_tokens", 0), completion_tokens=usage.get("completion_tokens", 0)
        ),
    )
