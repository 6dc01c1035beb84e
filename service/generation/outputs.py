"""From a server's answer to an Output, from chat and raw completions alike."""

from typing import Any

from service.contracts.generation import Alternative, Asked, Output, TokenLogprob, Usage
from service.languages.detect import detect


def output(
    about: Asked,
    text: str,
    finish_reason: str,
    usage: dict[str, Any] | None,
    logprobs: list[TokenLogprob] | None,
) -> Output:
    counts = usage or {}
    return Output(
        **about.model_dump(),
        text=text,
        detected_language=detect(text),
        finish_reason=finish_reason,
        usage=Usage(
            prompt_tokens=counts.get("prompt_tokens", 0), completion_tokens=counts.get("completion_tokens", 0)
        ),
        logprobs=logprobs,
    )


def text_of(choice: dict[str, Any]) -> str:
    """Of a choice of /chat/completions or /completions, whole or a piece of a stream."""
    if "text" in choice:
        return choice["text"] or ""
    return (choice.get("message") or choice.get("delta") or {}).get("content") or ""


def logprobs_of(choice: dict[str, Any]) -> list[TokenLogprob] | None:
    """Both of OpenAI's shapes as one; None where the server gave none."""
    found = choice.get("logprobs")
    if not found:
        return None
    return _chat(found["content"] or []) if "content" in found else _completion(found)


def _chat(content: list[dict[str, Any]]) -> list[TokenLogprob]:
    return [
        TokenLogprob(
            token=item["token"],
            logprob=item["logprob"],
            top=[Alternative(token=top["token"], logprob=top["logprob"]) for top in item["top_logprobs"]],
        )
        for item in content
    ]


def _completion(found: dict[str, Any]) -> list[TokenLogprob]:
    tops = found.get("top_logprobs") or [None] * len(found["tokens"])
    return [
        TokenLogprob(token=token, logprob=logprob, top=_likeliest_first(top or {}))
        for token, logprob, top in zip(found["tokens"], found["token_logprobs"], tops, strict=True)
    ]


def _likeliest_first(top: dict[str, float]) -> list[Alternative]:
    pairs = sorted(top.items(), key=lambda pair: -pair[1])
    return [Alternative(token=token, logprob=logprob) for token, logprob in pairs]
