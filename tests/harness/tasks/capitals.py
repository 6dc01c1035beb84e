"""A task for inspect_ai that needs no network."""

from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import includes
from inspect_ai.solver import generate


@task
def capitals() -> Task:
    samples = [
        Sample(input="What is the capital of Italy?", target="Rome"),
        Sample(input="Quelle est la capitale de la France ?", target="Paris"),
    ]
    return Task(dataset=samples, solver=generate(), scorer=includes())
