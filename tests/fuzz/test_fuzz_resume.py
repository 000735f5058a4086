"""A training state from a stranger: with anything in it spoiled, it goes on from there or is refused in words."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from spoiling import spoiled_bytes, spoiled_tensors, spoiled_value

from once import made_once
from sessions import tiny, trained
from unrolled.errors import UserError
from unrolled.training import session
from unrolled.training.alarm import GradientExplosion
from unrolled.training.loop import Trainer
from unrolled.training.run_folder import load_state
from unrolled.training.session import resume
from unrolled.training.settings import OPTIMISERS

pytestmark = pytest.mark.fuzz

SLOW = max(10, settings().max_examples // 4)
"""Draws of what takes a fifth of a second each."""


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, worker_id: str, story: Path) -> Path:
    """A small run of each optimiser, that has more to do."""

    def make(folder: Path) -> None:
        for name in OPTIMISERS:
            small = {"model__hidden": 4, "model__embedding": 4, "training__steps": 2, "training__validate_every": 2}
            run = trained(tiny(story, training__optimiser=name, training__average=0.5, **small), folder / name).folder
            tensors, facts = load_state(run)
            tensors = {n: tensor.clone() for n, tensor in tensors.items()}
            save_file(tensors, run / "state.safetensors", {"state": json.dumps(facts | {"steps": 4})})

    return made_once(tmp_path_factory, worker_id, "fuzzed-states", make)


@pytest.fixture
def two_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the state says, two updates are enough to see it used; what follows training is another matter."""
    run = Trainer.run

    def short(trainer: Trainer) -> bool:
        trainer.plan.steps = min(trainer.plan.steps, trainer.at.step + 2)
        return run(trainer)

    monkeypatch.setattr(Trainer, "run", short)
    monkeypatch.setattr(session, "finish", lambda trainer, complete, _: session.Result(trainer.folder, {}, complete))


TYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.bool, torch.uint8, torch.int64,
         torch.float8_e5m2, torch.complex64]  # fmt: skip
SHAPES = [(), (0,), (1,), (3,), (4, 4), (0, 4), (1, 4, 4), (2, 1, 4), (7, 3), (5056,)]


def spoiled_state(draw: Any, tensors: dict[str, torch.Tensor], facts: dict[str, Any]) -> None:
    """Change one tensor or fact in place."""
    name = draw(st.sampled_from(sorted(tensors)))
    kind = draw(st.sampled_from(["facts", "facts", "shape", "type", "gone", "renamed", "swapped", "value", "cut"]))
    if kind == "facts":
        changed = spoiled_value(draw, facts)
        facts.clear()
        facts.update(changed)
    elif kind == "shape":
        tensors[name] = torch.zeros(draw(st.sampled_from(SHAPES)), dtype=tensors[name].dtype)
    elif kind == "type":
        tensors[name] = tensors[name].to(draw(st.sampled_from(TYPES)))
    elif kind in ("gone", "renamed"):
        tensor = tensors.pop(name)
        if kind == "renamed":
            tensors[name + draw(st.sampled_from([".", "0", ".exp_avg"]))] = tensor
    elif kind == "swapped":
        other = draw(st.sampled_from(sorted(tensors)))
        tensors[name], tensors[other] = tensors[other].clone(), tensors[name].clone()
    elif kind == "cut":
        tensors[name] = tensors[name].flatten()[: draw(st.integers(0, 5))].clone()
    else:
        size = tensors[name].nbytes
        raw = torch.tensor(list(draw(st.binary(min_size=8, max_size=8))) * (size // 8 + 1), dtype=torch.uint8)
        tensors[name] = raw[:size].view(tensors[name].dtype).reshape(tensors[name].shape)


@pytest.mark.usefixtures("two_updates")
@settings(max_examples=SLOW, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_spoiled_state_goes_on_or_is_refused(whole: Path, tmp_path: Path, data: Any) -> None:
    run = tmp_path / "run"
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(whole / data.draw(st.sampled_from(OPTIMISERS)), run)
    path = run / "state.safetensors"
    spoil = data.draw(st.sampled_from(["content", "content", "header", "bytes"]))
    if spoil == "content":
        tensors, facts = load_state(run)
        tensors = {name: tensor.clone() for name, tensor in tensors.items()}
        spoiled_state(data.draw, tensors, facts)
        save_file(tensors, path, {"state": json.dumps(facts)})
    elif spoil == "header":
        path.write_bytes(spoiled_tensors(data.draw, path.read_bytes()))
    else:
        path.write_bytes(spoiled_bytes(data.draw, path.read_bytes()))
    refusal = ""
    try:
        resume(run, device="cpu", quiet=True)
    except GradientExplosion:
        pass  # numbers of the right shape, and far too large
    except UserError as error:
        refusal = str(error)
    assert "\n" not in refusal
