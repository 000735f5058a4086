"""The alarm: silent on numbers, loud and helpful on anything else."""

import math

import pytest

from unrolled.errors import UserError
from unrolled.models.settings import ModelSettings
from unrolled.training.alarm import GradientAlarm, GradientExplosion
from unrolled.training.settings import TrainingSettings


def explosion(alarm: GradientAlarm, loss: float = math.nan, norm: float = 1.0) -> GradientExplosion:
    with pytest.raises(GradientExplosion) as caught:
        alarm.observe(7, loss, norm)
    return caught.value


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_it_sounds_for_the_loss_and_for_the_norm(broken: float) -> None:
    assert f"step 7: the loss is {broken}" in str(explosion(GradientAlarm(), loss=broken))
    assert f"step 7: the gradient's norm is {broken}" in str(explosion(GradientAlarm(), loss=2.0, norm=broken))


def test_it_keeps_the_last_norms() -> None:
    alarm = GradientAlarm(history=3)
    for step, norm in enumerate([0.5, 1.0, 20.0, 4e5]):
        alarm.observe(step, 2.0, norm)
    error = explosion(alarm, loss=2.0, norm=math.inf)
    assert isinstance(error, UserError)
    assert (error.step, error.loss, error.norm, error.norms) == (7, 2.0, math.inf, (1.0, 20.0, 4e5))
    assert "gradient norms before it, oldest first: 1, 20, 4e+05" in str(error)


def test_it_says_what_is_kept() -> None:
    alarm = GradientAlarm()
    assert "oldest first: none" in str(explosion(alarm))
    assert "the last good checkpoint is kept" in str(explosion(alarm))
    alarm.checkpointed(5)
    assert "the last good checkpoint, of step 5, is kept" in str(explosion(alarm))


def test_its_advice_fits_the_settings() -> None:
    training = TrainingSettings(clip_norm=0.0, learning_rate=0.3, precision="bfloat16")
    alarm = GradientAlarm(training=training, model=ModelSettings(cell="rnn", nonlinearity="relu"))
    text = str(explosion(alarm))
    for advice in (
        "training.clip_norm=1.0 (now 0: off)",
        "a smaller training.learning_rate, such as 0.1 (now 0.3)",
        "training.precision=float32 (now bfloat16)",
        "model.cell=lstm (now rnn)",
        "model.nonlinearity=tanh (now relu)",
        "model.initialiser=orthogonal (now torch)",
    ):
        assert advice in text


def test_it_does_not_advise_what_is_done_already() -> None:
    text = str(explosion(GradientAlarm(model=ModelSettings(initialiser="orthogonal"))))
    assert "a smaller training.clip_norm (now 1)" in text
    for done in ("model.cell", "initialiser", "precision", "nonlinearity"):
        assert done not in text
