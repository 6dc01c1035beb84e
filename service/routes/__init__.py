"""One file per resource; each has a `router`, listed here."""

from service.routes import (
    aliases,
    engines,
    generate,
    health,
    jobs,
    languages,
    merges,
    methods,
    metrics,
    model_files,
    models,
    openai,
    push,
    store,
    tokenizer,
)

_MODULES = (
    # What is asked most is looked up first.
    openai,
    generate,
    tokenizer,
    health,
    metrics,
    methods,
    languages,
    models,
    model_files,
    push,
    aliases,
    merges,
    jobs,
    engines,
    store,
)
ROUTERS = [module.router for module in _MODULES]
