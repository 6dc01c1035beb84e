"""The merge methods: one module each, holding its SPEC. Dropping a module in here registers it."""

import pkgutil
from importlib import import_module

from service.contracts.methods.spec import MethodSpec

METHODS: dict[str, MethodSpec] = {
    module.name: import_module(f"{__name__}.{module.name}").SPEC
    for module in pkgutil.iter_modules(__path__)
    if module.name not in ("spec", "parameters")
}
