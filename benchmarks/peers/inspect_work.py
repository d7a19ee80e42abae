"""The work as an Inspect task: `inspect eval inspect_work.py -T cases=cases.jsonl`."""

from inspect_ai import Task, task
from inspect_ai.dataset import FieldSpec, json_dataset
from inspect_ai.scorer import match
from inspect_ai.solver import generate


@task
def work(cases: str) -> Task:
    return Task(
        dataset=json_dataset(cases, FieldSpec(id="id", input="input", target="expected")), solver=generate(), scorer=match(location="exact")
    )
