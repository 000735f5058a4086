"""The loop's own arithmetic: the state carried and cut off, gradients summed, clipped, and the mean over symbols."""

from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from torch.nn import functional

from sessions import tiny
from unrolled.data.corpus import open_corpus
from unrolled.models.build import build_model
from unrolled.models.language_model import LanguageModel
from unrolled.tasks.language_model.evaluation import Evaluation, evaluate_stream, lanes_for
from unrolled.tasks.language_model.task import TASK
from unrolled.training.budget import fixed_plan
from unrolled.training.loop import Trainer, detached, parts_of
from unrolled.training.progress import Progress


def a_trainer(story: Path, folder: Path, **overrides: object) -> Trainer:
    recipe = tiny(story, **overrides)
    torch.manual_seed(3)
    corpus = open_corpus(recipe.data)
    model = build_model(recipe.model, corpus.vocabulary)
    progress = Progress(recipe.training.steps, quiet=True)
    folder.mkdir(exist_ok=True)
    plan = fixed_plan(recipe.training, recipe.training.steps)
    return Trainer(TASK, recipe, model, corpus, folder, plan, progress, Fabric(accelerator="cpu", devices=1))


def gradients(model: LanguageModel) -> list[torch.Tensor]:
    return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]


def test_the_gradient_is_that_of_the_mean_loss_and_the_state_is_carried_without_its_past(
    story: Path, tmp_path: Path
) -> None:
    trainer = a_trainer(story, tmp_path, training__clip_norm=0.0)
    first, second = next(trainer.batches.epoch(0)), next(trainer.batches.epoch(0, start=1))
    trainer._update([first])
    carried = trainer.state
    trainer.model.zero_grad()
    total, symbols, norm = trainer._update([second])
    ours = gradients(trainer.model)

    trainer.model.zero_grad()
    features, _ = trainer.model.features(second.inputs, detached(carried))
    logs = trainer.model.output.log_probabilities(features)
    mean = functional.nll_loss(logs.flatten(0, 1), second.targets.flatten(), ignore_index=0)
    mean.backward()
    assert total / symbols == pytest.approx(mean.item(), rel=1e-5)
    assert symbols == second.targets.numel()
    for mine, theirs in zip(ours, gradients(trainer.model), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-4)
    assert norm == pytest.approx(torch.cat([gradient.flatten() for gradient in ours]).norm().item(), rel=1e-5)


def test_a_detached_state_has_the_same_numbers_and_no_past() -> None:
    state = (torch.ones(1, 2, 3, requires_grad=True) * 2, torch.zeros(1, 2, 3))
    cut = detached(state)
    assert all(not part.requires_grad for part in parts_of(cut))
    assert all(torch.equal(a, b) for a, b in zip(parts_of(cut), state, strict=True))
    assert detached(None) is None
    assert parts_of(None) == ()


def test_accumulated_windows_are_one_update_of_their_mean(story: Path, tmp_path: Path) -> None:
    trainer = a_trainer(story, tmp_path, training__clip_norm=0.0, training__accumulate=2)
    windows = [window for _, window in zip(range(2), trainer.batches.epoch(0), strict=False)]
    trainer._update(windows)
    ours = gradients(trainer.model)
    trainer.model.zero_grad()
    state, total, count = None, torch.zeros(()), 0
    for window in windows:
        loss = trainer.model(window.inputs, window.targets, detached(state))
        state, total, count = loss.state, total + loss.total, count + int(loss.symbols)
    (total / count).backward()
    for mine, theirs in zip(ours, gradients(trainer.model), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-4)


def test_clipping_by_norm_and_by_value(story: Path, tmp_path: Path) -> None:
    by_norm = a_trainer(story, tmp_path, training__clip_norm=0.01)
    norm = by_norm._update([next(by_norm.batches.epoch(0))])[2]
    clipped = torch.cat([gradient.flatten() for gradient in gradients(by_norm.model)]).norm()
    assert norm > 0.01
    assert clipped.item() == pytest.approx(0.01, rel=1e-3)
    by_value = a_trainer(story, tmp_path, training__clip_norm=0.0, training__clip_value=0.001)
    by_value._update([next(by_value.batches.epoch(0))])
    assert max(gradient.abs().max().item() for gradient in gradients(by_value.model)) == pytest.approx(0.001)


@pytest.mark.parametrize("format", ["text", "lines"])
def test_evaluation_counts_every_symbol_once_whatever_the_lanes(
    story: Path, tmp_path: Path, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = a_trainer(story, tmp_path, data__format=format)
    stream = trainer.material.train
    trainer.model.train()
    found = []
    for length in (10**9, 500):  # one lane; many lanes
        monkeypatch.setattr("unrolled.tasks.language_model.evaluation.LANE_SYMBOLS", length)
        found.append(evaluate_stream(trainer.model, stream, accuracy=True))
    assert trainer.model.training
    assert found[0].symbols == found[1].symbols == len(stream)
    assert found[0].loss == pytest.approx(found[1].loss, rel=1e-4)
    assert found[0].correct is not None
    assert found[1].correct is not None
    assert abs(found[0].correct - found[1].correct) <= 2


def test_figures_of_an_evaluation() -> None:
    figures = Evaluation(nats=20.0, symbols=10, characters=40, correct=5)
    assert figures.perplexity == pytest.approx(7.389056)
    assert figures.bits_per_character == pytest.approx(0.7213475)
    assert figures.as_dict()["accuracy"] == 0.5
    assert "accuracy" not in Evaluation(1.0, 1, 1).as_dict()
    assert Evaluation(1e6, 1, 1).perplexity == float("inf")
    assert lanes_for(100) == 1
    assert lanes_for(10**9) == 64
