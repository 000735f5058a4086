"""The recipe's section [training]: how long, in which windows, with which optimiser and schedule."""

from dataclasses import dataclass

from unrolled.settings import setting

OPTIMISERS = ("adamw", "adam", "sgd", "rmsprop", "adagrad", "adadelta", "adamax", "nadam", "radam", "asgd")
SCHEDULES = ("constant", "cosine", "step", "one-cycle", "plateau")
BUDGETS = ("steps", "epochs", "minutes")
DEFAULT_EPOCHS = 10.0


@dataclass(frozen=True)
class TrainingSettings:
    """How the model is trained; a step is one update of the weights.

    >>> TrainingSettings(steps=2000).budget
    ('steps', 2000.0)
    """

    steps: int = setting(0, minimum=0, help="budget: updates of the weights")
    epochs: float = setting(0.0, minimum=0, help="budget: passes over the training data (10 when no budget is given)")
    minutes: float = setting(
        0.0, minimum=0, help="budget: minutes on the clock, from the start of the program to the last figure"
    )
    batch: int = setting(32, minimum=1, help="sequences side by side")
    window: int = setting(100, minimum=1, help="timesteps that backpropagation reaches back through")
    optimiser: str = setting("adamw", choices=OPTIMISERS, help="the optimiser, by torch's name in lower case")
    learning_rate: float = setting(2e-3, above=0, help="the highest learning rate of the schedule")
    schedule: str = setting("cosine", choices=SCHEDULES, help="how the learning rate falls")
    warmup: int = setting(100, minimum=0, help="steps of linear rise at the start, at most half of the run")
    final_learning_rate: float = setting(
        0.0, minimum=0, maximum=1, help="fraction of learning_rate that the schedule ends at"
    )
    step_every: int = setting(0, minimum=0, help="schedule step: steps between two falls; 0: a quarter of the run")
    step_factor: float = setting(0.5, above=0, below=1, help="schedules step and plateau: the factor of one fall")
    plateau_patience: int = setting(2, minimum=1, help="schedule plateau: validations in vain before a fall")
    momentum: float = setting(0.9, minimum=0, below=1, help="momentum of sgd and rmsprop")
    beta1: float = setting(0.9, minimum=0, below=1, help="Adam's decay of the mean gradient")
    beta2: float = setting(0.99, minimum=0, below=1, help="Adam's decay of the mean squared gradient")
    weight_decay: float = setting(0.01, minimum=0, help="pull of the weights towards zero")
    clip_norm: float = setting(1.0, minimum=0, help="longest gradient, all parameters together; 0: off")
    clip_value: float = setting(0.0, minimum=0, help="largest single component of the gradient; 0: off")
    accumulate: int = setting(1, minimum=1, maximum=10_000, help="windows whose gradients are summed before an update")
    seed: int = setting(1, minimum=0, maximum=2**63 - 1, help="seed of every random draw of the run")
    precision: str = setting("float32", choices=("float32", "bfloat16"), help="bfloat16: mixed precision")
    validate_every: int = setting(0, minimum=0, help="steps between two validations; 0: see validations")
    validations: int = setting(
        10,
        minimum=1,
        help="validations in a run, evenly spread; by the minutes fewer where they would take a tenth of it",
    )
    validation_share: float = setting(
        1.0, above=0, maximum=1, help="share of the validation part that is measured while training, evenly spread"
    )
    pace: tuple[int, ...] = setting(
        (), minimum=0, help="written by a run of minutes: the steps done at each hundredth of its time"
    )
    validated: tuple[int, ...] = setting(
        (), minimum=0, help="written by a run of minutes: the steps after which it was validated"
    )
    patience: int = setting(0, minimum=0, help="validations without improvement before stopping; 0: never stop early")
    average: float = setting(0.0, minimum=0, below=1, help="decay of the moving average of the weights; 0: off")
    tensorboard: bool = setting(False, help="also write TensorBoard's event files")
    devices: int = setting(1, minimum=1, maximum=64, help="devices to train on at once")

    @property
    def budget(self) -> tuple[str, float]:
        """Which budget counts and how much of it: ``("steps", n)``, ``("epochs", x)`` or ``("minutes", x)``."""
        given = [(name, float(getattr(self, name))) for name in BUDGETS if getattr(self, name) > 0]
        return given[0] if given else ("epochs", DEFAULT_EPOCHS)
