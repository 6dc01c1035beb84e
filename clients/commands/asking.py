"""Commands that ask models."""

from typing import Annotated

import typer

from clients.commands.options import ASK, AsJson, Url, examples
from clients.commands.output import notes, print_json, print_table
from clients.sdk.client import DEFAULT_URL, Polymerge
from service.contracts.generation import Delta, GenerateResponse


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=ASK, epilog=_GENERATE)(generate)
    app.command(rich_help_panel=ASK, epilog=examples("polymerge languages"))(languages)


_GENERATE = examples(
    'polymerge generate --model safer --language fr "Bonjour, qui es-tu ?"',
    'polymerge generate --model safer@hi --stream "नमस्ते"',
    'polymerge generate --model safer --json "First prompt" "Second prompt"',
)


def generate(
    prompts: Annotated[list[str], typer.Argument(metavar="PROMPT...", help="One or more.")],
    model: Annotated[str, typer.Option(help="Id or alias; alias@fr sets the language too.")],
    language: Annotated[str | None, typer.Option(help="Language to answer in: a tag such as fr.")] = None,
    max_tokens: Annotated[int, typer.Option(help="Length of an answer, at most.", min=1)] = 256,
    temperature: Annotated[
        float, typer.Option(help="0 always takes the likeliest token.", min=0, max=2)
    ] = 0.0,
    top_p: Annotated[float, typer.Option(help="Share of the likeliest tokens to draw from.", max=1)] = 1.0,
    seed: Annotated[int | None, typer.Option(help="For temperatures above 0.", min=0)] = None,
    keep_alive: Annotated[
        str | None, typer.Option(help="How long the model stays loaded afterwards: 5m, 0, -1 for ever.")
    ] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Print the text as it comes.")] = False,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Ask a model; it is loaded first if no engine has it."""
    if stream and len(prompts) > 1:
        raise typer.BadParameter("--stream takes one PROMPT")
    sampling: dict[str, object] = {
        "max_tokens": max_tokens,
        "temperature": temperature,
        "top_p": top_p,
        "seed": seed,
        "keep_alive": keep_alive,
    }
    with Polymerge(url) as service:
        if stream:
            _stream(service, model, prompts[0], language, sampling, as_json)
            return
        answer = service.generate(model, prompts, language=language, **sampling)
    if as_json:
        print_json(answer)
    else:
        _print_answers(answer, prompts)


def languages(as_json: AsJson = False, url: Url = DEFAULT_URL) -> None:
    """List the languages with an instruction of their own; any other tag works with a general one."""
    with Polymerge(url) as service:
        found = service.languages()
    if as_json:
        print_json(found)
    else:
        rows = [(item.tag, item.name, item.instruction) for item in found]
        print_table(("tag", "name", "instruction"), rows)


def _stream(
    service: Polymerge,
    model: str,
    prompt: str,
    language: str | None,
    sampling: dict[str, object],
    as_json: bool,
) -> None:
    for item in service.generate_stream(model, prompt, language=language, **sampling):
        if as_json:
            print(item.model_dump_json(), flush=True)
        elif isinstance(item, Delta):
            print(item.text, end="", flush=True)
        else:
            print()
            _note(item)


def _print_answers(answer: GenerateResponse, prompts: list[str]) -> None:
    for output in answer.outputs:
        if len(prompts) > 1:
            notes().print(f"> {prompts[output.index]}", style="dim", markup=False)
        print(output.text, flush=True)
    _note(answer)


def _note(answer: GenerateResponse) -> None:
    """Who answered, in which language, at what length: for people, so on standard error."""
    detected = ", ".join(dict.fromkeys(output.detected_language or "?" for output in answer.outputs))
    reasons = ", ".join(dict.fromkeys(output.finish_reason for output in answer.outputs))
    asked = f" (asked: {answer.language})" if answer.language else ""
    text = f"{answer.model}, in {detected}{asked}, {answer.usage.completion_tokens} tokens, {reasons}"
    notes().print(text, style="dim", markup=False)
