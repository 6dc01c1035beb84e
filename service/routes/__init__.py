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
    generate,
    openai,
    tokenizer,
)
ROUTERS = [module.router for module in _MODULES]
