"""The alarm for exploding gradients: it stops a run at the first NaN or infinity and says what to try."""

import math
from collections import deque

from unrolled.errors import UserError
from unrolled.models.settings import ModelSettings
from unrolled.training.settings import TrainingSettings


class GradientExplosion(UserError):
    """The loss or the gradient stopped being a number; ``step``, ``loss``, ``norm`` and ``norms`` say where and how."""

    def __init__(self, message: str, *, step: int, loss: float, norm: float, norms: tuple[float, ...]) -> None:
        super().__init__(message)
        self.step, self.loss, self.norm, self.norms = step, loss, norm, norms


class GradientAlarm:
    """Watches loss and gradient norm, step by step, before the weights are touched.

    ``history`` norms are kept for the report; the settings make its advice concrete.

    >>> alarm = GradientAlarm(training=TrainingSettings(clip_norm=0.0))
    >>> alarm.observe(1, loss=3.2, norm=0.7)
    >>> alarm.observe(2, loss=float("nan"), norm=0.9)    # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    unrolled.training.alarm.GradientExplosion: step 2: the loss is nan ...
    """

    def __init__(
        self, history: int = 20, *, training: TrainingSettings | None = None, model: ModelSettings | None = None
    ) -> None:
        self._norms: deque[float] = deque(maxlen=history)
        self._training = training or TrainingSettings()
        self._model = model or ModelSettings()
        self._checkpoint: int | None = None

    @property
    def norms(self) -> tuple[float, ...]:
        """The last gradient norms, oldest first."""
        return tuple(self._norms)

    def checkpointed(self, step: int) -> None:
        """Note that the state of ``step`` is safe on disk, so that the report can say so."""
        self._checkpoint = step

    def observe(self, step: int, loss: float, norm: float) -> None:
        """Note one step's loss (nats per symbol) and gradient norm (before clipping).

        Raises:
            GradientExplosion: when either is NaN or infinite.
        """
        if math.isfinite(loss) and math.isfinite(norm):
            self._norms.append(norm)
            return
        message = f"{self._what(step, loss, norm)}\n{self._kept()}\n{self._advice()}"
        raise GradientExplosion(message, step=step, loss=loss, norm=norm, norms=self.norms)

    def _what(self, step: int, loss: float, norm: float) -> str:
        broken = f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient's norm is {norm}"
        before = ", ".join(f"{value:.3g}" for value in self._norms)
        return f"step {step}: {broken}; gradient norms before it, oldest first: {before or 'none'}"

    def _kept(self) -> str:
        of_step = f", of step {self._checkpoint}," if self._checkpoint is not None else ""
        return f"training stopped before the weights were touched; the last good checkpoint{of_step} is kept in the run"

    def _advice(self) -> str:
        return "try: " + "; ".join([*self._optimiser_advice(), *self._model_advice()])

    def _optimiser_advice(self) -> list[str]:
        clip, rate = self._training.clip_norm, self._training.learning_rate
        clipping = f"a smaller training.clip_norm (now {clip:g})" if clip else "training.clip_norm=1.0 (now 0: off)"
        advice = [clipping, f"a smaller training.learning_rate, such as {rate / 3:.1g} (now {rate:g})"]
        if self._training.precision != "float32":
            advice.append(f"training.precision=float32 (now {self._training.precision})")
        return advice

    def _model_advice(self) -> list[str]:
        advice = []
        if self._model.cell == "rnn":
            advice.append("a gated cell, such as model.cell=lstm (now rnn)")
            if self._model.nonlinearity not in ("tanh", "sigmoid"):
                advice.append(f"a bounded activation, model.nonlinearity=tanh (now {self._model.nonlinearity})")
        if self._model.initialiser != "orthogonal":
            advice.append(f"model.initialiser=orthogonal (now {self._model.initialiser})")
        return advice
