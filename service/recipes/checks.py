"""What can be wrong with a recipe whose keys and types are right, and needs no knowledge of the models."""

from collections.abc import Collection
from functools import cache

from service.contracts.methods import METHODS
from service.contracts.methods.spec import MethodSpec
from service.contracts.problem import Place
from service.contracts.recipe import Module, Parameters, RecipeDocument
from service.recipes.finding import Finding
from service.recipes.parameters import parameter_names
from service.recipes.refusal import nearest
from service.recipes.sections import Section, sections
from service.recipes.vocabulary.chat_template import template_problem


def check_document(document: RecipeDocument) -> list[Finding]:
    """Everything found at once; the method is only looked at if the structure is right."""
    return _structure(document) or _method(document)


def _structure(document: RecipeDocument) -> list[Finding]:
    findings = _one_of(document, ("models", "slices", "modules"), ())
    for name, module in (document.modules or {}).items():
        findings += _one_of(module, ("models", "slices"), ("modules", name))
    if findings:
        return findings
    if document.tokenizer and document.tokenizer_source:
        return [Finding(("tokenizer_source",), "give either tokenizer or tokenizer_source, found both")]
    if document.chat_template and (detail := template_problem(document.chat_template)):
        return [Finding(("chat_template",), detail)]
    return [
        Finding((*source.place, "layer_range"), "layer_range is [start, end) with start below end")
        for section in sections(document)
        for source in section.sources
        if source.layers is not None and not source.layers
    ]


def _one_of(part: RecipeDocument | Module, keys: tuple[str, ...], place: Place) -> list[Finding]:
    found = [key for key in keys if getattr(part, key) is not None]
    if len(found) == 1:
        return []
    wanted = f"either {', '.join(keys[:-1])} or {keys[-1]}"
    return [Finding((*place, "models"), f"give {wanted}, found {' and '.join(found) or 'none of them'}")]


def _method(document: RecipeDocument) -> list[Finding]:
    spec = METHODS.get(document.merge_method)
    if spec is None:
        name = document.merge_method
        return [Finding(("merge_method",), f"unknown method '{name}': {nearest(name, METHODS)}")]
    arity = [finding for section in sections(document) for finding in _arity(section, spec)]
    return arity + _parameters(document, spec)


def _arity(section: Section, spec: MethodSpec) -> list[Finding]:
    if section.base is None and spec.base in ("endpoint", "origin"):
        role = "the model at t=0" if spec.base == "endpoint" else "the model that task vectors start from"
        return [Finding(("base_model",), f"{spec.name} needs base_model, {role}")]
    if section.base and spec.base != "donor" and not section.has_base(spec):
        detail = f"{spec.name} needs the layers of base_model, '{section.base}', among the slice's sources"
        return [Finding(section.place, detail)]
    seen = set()
    for source in section.sources:
        if (source.model, source.layers) in seen:
            detail = f"'{source.model}' is listed twice; give it once, with the sum of its weights"
            return [Finding((*source.place, "model"), detail)]
        seen.add((source.model, source.layers))
    count = len(section.ingredients(spec))
    if count < spec.min_models or (spec.max_models is not None and count > spec.max_models):
        wanted = (
            f"exactly {spec.min_models}"
            if spec.max_models == spec.min_models
            else f"at least {spec.min_models}"
        )
        models = "model" if spec.min_models == 1 else "models"
        beside = " beside base_model" if spec.base == "origin" else ""
        return [Finding(section.place, f"{spec.name} merges {wanted} {models}{beside}, found {count}")]
    return []


def _parameters(document: RecipeDocument, spec: MethodSpec) -> list[Finding]:
    findings = _shared_parameters(document, spec, ())
    for name, module in (document.modules or {}).items():
        findings += _shared_parameters(module, spec, ("modules", name))
    for section in sections(document):
        for source in section.sources:
            findings += _misplaced(source.parameters, spec, (*source.place, "parameters"))
    return findings


def _shared_parameters(part: RecipeDocument | Module, spec: MethodSpec, place: Place) -> list[Finding]:
    findings = _unknown(part.parameters, spec, (*place, "parameters"))
    for index, item in enumerate(part.slices or ()):
        findings += _unknown(item.parameters, spec, (*place, "slices", index, "parameters"))
    return findings


def _unknown(parameters: Parameters, spec: MethodSpec, place: Place) -> list[Finding]:
    known = parameter_names(spec.parameters) | parameter_names(spec.model_parameters)
    return [_unread(name, known, spec, (*place, name)) for name in parameters if name not in known]


def _misplaced(parameters: Parameters, spec: MethodSpec, place: Place) -> list[Finding]:
    """Unknown ones, and those that a source can't set for itself."""
    shared, own = parameter_names(spec.parameters), parameter_names(spec.model_parameters)
    findings = []
    for name in parameters:
        if name in shared:
            detail = f"'{name}' holds for the whole merge: move it to the top-level parameters"
            findings.append(Finding((*place, name), detail, ignorable=True))
        elif name not in own:
            findings.append(_unread(name, own, spec, (*place, name)))
    return findings


def _unread(name: str, known: Collection[str], spec: MethodSpec, place: Place) -> Finding:
    if name in _parameters_of_any_method():
        return Finding(place, f"{spec.name} does not read '{name}': it changes nothing here", idle=True)
    return Finding(place, f"unknown parameter '{name}': {nearest(name, known)}", ignorable=True)


@cache
def _parameters_of_any_method() -> frozenset[str]:
    return frozenset(
        name
        for spec in METHODS.values()
        for schema in (spec.parameters, spec.model_parameters)
        for name in parameter_names(schema)
    )
