"""A training state that is not one of this run is refused, whatever is wrong with it; a whole one goes on."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from once import made_once
from sessions import assert_resumes, tiny, trained
from unrolled.errors import UserError
from unrolled.training.run_folder import load_state
from unrolled.training.session import resume
from unrolled.training.settings import OPTIMISERS, TrainingSettings
from unrolled.training.state_checks import FACTS, check_facts, gathered_entries

Tensors, Facts = dict[str, Tensor], dict[str, Any]
W = "model.output.weight"
MOMENT = "optimiser.0.exp_avg"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, worker_id: str, story: Path) -> Path:
    """A run with everything that a state can have: two states carried, an average, a schedule that listens."""

    def make(folder: Path) -> None:
        recipe = tiny(
            story, training__steps=3, training__validate_every=1, training__average=0.9, training__schedule="plateau"
        )
        trained(recipe, folder / "run")

    return made_once(tmp_path_factory, worker_id, "state-checks", make) / "run"


def refused(whole: Path, tmp_path: Path, tensors: Tensors, facts: Facts) -> str:
    """What resuming says to this state."""
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    save_file(tensors, run / "state.safetensors", {"state": json.dumps(facts)})
    before = torch.get_rng_state()
    with pytest.raises(UserError) as caught:
        resume(run, device="cpu", quiet=True)
    torch.set_rng_state(before)
    message = str(caught.value)
    assert "\n" not in message
    assert "state.safetensors" in message or "weights do not fit" in message or str(run) in message
    return message


def without(name: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {n: v for n, v in tensors.items() if n != name}


def with_tensor(name: str, tensor: Tensor) -> Callable[[Tensors], Tensors]:
    return lambda tensors: tensors | {name: tensor}


def every(part: str, change: Callable[[Tensor], Tensor]) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {n: change(v).contiguous() if part in n else v for n, v in tensors.items()}


def no_optimiser(tensors: Tensors) -> Tensors:
    return {n: v for n, v in tensors.items() if not n.startswith("optimiser.")}


def counts_of(left: int, after: int) -> Callable[[Tensors], Tensors]:
    """A random state that torch takes, and whose next draws may lie past its numbers."""

    def change(tensors: Tensors) -> Tensors:
        state = tensors["process.random"].clone()
        state[8:12] = torch.tensor([left], dtype=torch.int32).view(torch.uint8)
        state[16:24] = torch.tensor([after], dtype=torch.int64).view(torch.uint8)
        return tensors | {"process.random": state}

    return change


FLAWED_TENSORS = {
    "a weight is missing": (without(W), "lacks output.weight"),
    "a weight of one number": (with_tensor(W, torch.zeros(1)), r"output.weight is \(1,\) there"),
    "a weight of bytes": (every(W, lambda w: w.to(torch.uint8)), "output.weight is of torch.uint8 there"),
    "a weight of half precision": (every(W, lambda w: w.half()), "output.weight is of torch.float16"),
    "a weight of eight bits": (every(W, lambda w: w.to(torch.float8_e4m3fn)), "torch.float8_e4m3fn"),
    "a weight that is no number": (every(W, lambda w: w * torch.nan), "holds a number that is not finite"),
    "a weight too many": (with_tensor("model.other", torch.zeros(1)), "a surplus other"),
    "another tensor": (with_tensor("other", torch.zeros(1)), "other is not a tensor of this run"),
    "no optimiser": (no_optimiser, "optimiser.0.exp_avg is missing"),
    "a moment is missing": (without("optimiser.1.exp_avg_sq"), "optimiser.1.exp_avg_sq is missing"),
    "an entry for no parameter": (with_tensor("optimiser.99.step", torch.zeros(())), "not a tensor of this run"),
    "an entry without a number": (with_tensor("optimiser.x.step", torch.zeros(())), "not a tensor of this run"),
    "short moments": (every(".exp_avg", lambda m: m.flatten()[:1]), r"is \(1,\), not"),
    "empty moments": (every(".exp_avg", lambda m: m.new_zeros(0)), r"is \(0,\), not"),
    "long moments": (every(".exp_avg", lambda m: m.new_zeros(*m.shape, 2)), r"2\), not"),
    "moments of another type": (every(".exp_avg", lambda m: m.double()), "is of torch.float64, not torch.float32"),
    "moments of yes and no": (every(".exp_avg", lambda m: m > 0), "is of torch.bool, not torch.float32"),
    "infinite moments": (with_tensor("optimiser.1.exp_avg", torch.full((12,), torch.inf)), r"is \(|not finite"),
    "many steps": (every(".step", lambda s: s + 99), "is not a number of steps up to 3"),
    "negative steps": (every(".step", lambda s: -s), "is not a number of steps up to 3"),
    "no average": (without("average.updates"), "average.updates is missing"),
    "a short average": (every("average.weight.", lambda a: a.flatten()[:1]), r"is \(1,\), not"),
    "a long count": (every("average.updates", lambda a: a + 9), "average.updates is not a number of steps up to 3"),
    "no random state": (without("process.random"), "process.random is missing"),
    "a short random state": (with_tensor("process.random", torch.zeros(3, dtype=torch.uint8)), r"is \(3,\), not"),
    "a random state of zeros": (every("process.random", torch.zeros_like), "not the state of a random generator"),
    "a random state that reads on": (counts_of(600, 600), "not the state of a random generator"),
    "a random state past its end": (counts_of(1, 625), "not the state of a random generator"),
    "no carried state": (without("process.carried.0"), "process.carried.0 is missing"),
    "a carried state too many": (with_tensor("process.carried.2", torch.zeros(1, 4, 12)), "not a tensor of this run"),
    "a carried state of one number": (with_tensor("process.carried.0", torch.zeros(1)), r"is \(1,\), not \(1, 4, 12\)"),
    "a carried state of another batch": (with_tensor("process.carried.0", torch.zeros(1, 9, 12)), r"is \(1, 9, 12\)"),
}


@pytest.mark.parametrize("flaw", FLAWED_TENSORS)
def test_flawed_tensors_are_refused(whole: Path, tmp_path: Path, flaw: str) -> None:
    tensors, facts = load_state(whole)
    change, expected = FLAWED_TENSORS[flaw]
    assert re.search(expected, refused(whole, tmp_path, change(dict(tensors)), facts))


FLAWED_FACTS: dict[str, dict[str, Any]] = {
    "a word": {"steps": "ten"},
    "infinite": {"steps": float("inf")},
    "no number": {"seconds": float("nan")},
    "none": {"step": None},
    "text": {"step": "3"},
    "a fraction": {"step": 2.5},
    "true": {"waited": True},
    "negative": {"position": -3},
    "huge": {"symbols": 10**400},
    "no steps": {"steps": 0},
    "more steps than there are": {"step": 3, "steps": 2},
    "a best step of the future": {"best_step": 4},
    "an epoch of the future": {"epoch": 2**40},
    "a place past the epoch's end": {"position": 10**6},
    "a list": {"plateau": []},
    "a plateau without its factor": {"plateau": {"best": None, "waited": 0}},
    "a plateau of other things": {"plateau": {"factor": 1.0, "best": None, "waited": 0, "more": 1}},
    "a plateau that rises": {"plateau": {"factor": 2.0, "best": None, "waited": 0}},
    "a plateau of text": {"plateau": {"factor": "1", "best": None, "waited": 0}},
    "another fact": {"more": 1},
    "other data": {"fingerprint": "0"},
    "no text": {"fingerprint": 3},
    "other processes": {"processes": 2},
}


@pytest.mark.parametrize("flaw", FLAWED_FACTS)
def test_flawed_facts_are_refused(whole: Path, tmp_path: Path, flaw: str) -> None:
    tensors, facts = load_state(whole)
    refused(whole, tmp_path, tensors, facts | FLAWED_FACTS[flaw])


@pytest.mark.parametrize("fact", FACTS)
def test_every_fact_is_needed(whole: Path, fact: str) -> None:
    _, facts = load_state(whole)
    check_facts(facts, whole)
    with pytest.raises(UserError, match=f'"{fact}" is missing'):
        check_facts({name: value for name, value in facts.items() if name != fact}, whole)


def test_a_state_of_deep_json_is_refused(whole: Path, tmp_path: Path) -> None:
    tensors, _ = load_state(whole)
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    save_file(tensors, run / "state.safetensors", {"state": "[" * 100_000})
    with pytest.raises(UserError, match=r"is not JSON .*nested too deeply"):
        resume(run, device="cpu", quiet=True)


def test_links_in_a_run_folder_lead_nowhere(whole: Path, tmp_path: Path) -> None:
    """Every name that resuming writes to is a link to a file of the user's."""
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    tensors, facts = load_state(whole)
    save_file(tensors, run / "state.safetensors", {"state": json.dumps(facts | {"steps": 5})})
    for file in list(run.iterdir()):
        outside = tmp_path / f"outside {file.name}"
        shutil.copy(file, outside)
        file.unlink()
        file.symlink_to(outside) if file.name in ("log.jsonl", "curves.png") else file.hardlink_to(outside)
    before = {path: path.read_bytes() for path in tmp_path.glob("outside *")}
    assert resume(run, device="cpu", quiet=True).complete
    assert {path: path.read_bytes() for path in before} == before
    assert load_state(run)[1]["step"] == 5


@pytest.mark.parametrize("name", OPTIMISERS)
def test_what_an_optimiser_gathers_is_known(name: str) -> None:
    entries = gathered_entries(TrainingSettings(optimiser=name))
    assert all(tuple(value.shape) in ((2, 3), ()) for value in entries.values())


@pytest.mark.parametrize("name", OPTIMISERS)
def test_resumed_equals_uninterrupted_with_every_optimiser(story: Path, tmp_path: Path, name: str) -> None:
    small = {"training__steps": 4, "training__validate_every": 4, "model__hidden": 4, "model__embedding": 4}
    assert_resumes(tiny(story, training__optimiser=name, training__learning_rate=0.01, **small), tmp_path, 1)


def test_a_learned_start_that_is_never_used_may_have_gathered_nothing(tmp_path: Path) -> None:
    """A generator whose class makes the initial state never asks for the learned one."""
    from unrolled.training.recipe import recipe_from_mapping

    (tmp_path / "names.tsv").write_text("".join(f"n{i}a\t{'xy'[i % 2]}\n" for i in range(40)))
    recipe = recipe_from_mapping({
        "task": "generate", "data": {"path": str(tmp_path / "names.tsv")},
        "model": {"hidden": 4, "embedding": 4, "condition": "state", "initial_state": "learned"},
        "training": {"steps": 3, "batch": 4},
    })  # fmt: skip
    assert_resumes(recipe, tmp_path, 1)
