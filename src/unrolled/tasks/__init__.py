"""One folder a task: what its data, model, batches and figures are. Training and use ask `task_of` and know no more."""

from __future__ import annotations

import importlib

from unrolled.tasks.task import Task

FOLDERS = {
    "language-model": "language_model", "generate": "generate", "classify": "classify", "tag": "tag",
    "translate": "translate",
}  # fmt: skip
"""The folder of every task that can be trained."""


def task_of(name: str) -> Task:
    """The task of a recipe, by the name that `recipe.task` has."""
    module = importlib.import_module(f"unrolled.tasks.{FOLDERS[name]}.task")
    task: Task = module.TASK
    return task


__all__ = ["FOLDERS", "Task", "task_of"]
