"""How many processes train together, and which of them this one is: said by torchrun, or by the recipe.

A scheduler's variables (SLURM's, MPI's) and Lightning's own (LT_*) decide nothing: what starts several processes is
torchrun, or `training.devices`; anything else is a plain run by itself.
"""

from __future__ import annotations

import logging
import os
from typing import Any

import torch

from unrolled import cores
from unrolled.environment import whole_number, without
from unrolled.errors import UserError
from unrolled.training.recipe import Recipe

FOREIGN = ("LT_", "SLURM_", "JSM_", "LSB_", "OMPI_", "PMI_")
"""Variables that Lightning would heed."""
RANKS = (
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "NODE_RANK",
    "GROUP_RANK",
    "MASTER_ADDR",
    "MASTER_PORT",
)
TORCHRUN = "torchrun sets it; start the processes with torchrun, or unset TORCHELASTIC_RUN_ID"
CHILDREN = "unset it to train with training.devices"


def fabric_of(recipe: Recipe, device: str) -> Any:
    """Lightning Fabric, launched: where the model trains, and together with whom.

    Raises:
        UserError: the environment contradicts itself, or there is no such device.
    """
    elastic = "TORCHELASTIC_RUN_ID" in os.environ
    devices = recipe.training.devices
    local, nodes = _checked_elastic() if elastic else (devices, 1)
    if not elastic and devices > 1:
        _check_children(devices)
    alone = not elastic and devices == 1
    precision: Any = {"float32": "32-true", "bfloat16": "bf16-mixed"}[recipe.training.precision]
    with without(*FOREIGN, *(RANKS if alone else ())):
        from lightning_fabric import Fabric
        from lightning_fabric.plugins.environments.lightning import LightningEnvironment
        from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
        from lightning_fabric.utilities.exceptions import MisconfigurationException

        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # its greetings are no news to the user
        place = TorchElasticEnvironment() if elastic else LightningEnvironment()
        try:
            fabric = Fabric(accelerator=device, devices=local, num_nodes=nodes, precision=precision, plugins=[place])
            threads = torch.get_num_threads()
            fabric.launch()  # Lightning sets a number of its own
            if local > 1:
                torch.set_num_threads(min(threads, max(1, cores.usable() // local)))
        except (ValueError, RuntimeError, MisconfigurationException) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"training on {local} device(s) of kind {device!r} cannot begin: {reason}") from None
    return fabric


def is_first() -> bool:
    """Whether this process is the one that speaks, of those that trained together."""
    import torch.distributed

    together = torch.distributed.is_available() and torch.distributed.is_initialized()
    return not together or torch.distributed.get_rank() == 0


def _checked_elastic() -> tuple[int, int]:
    """Processes of each machine, and machines, as torchrun says."""
    world = whole_number("WORLD_SIZE", minimum=1, what=TORCHRUN)
    local = whole_number("LOCAL_WORLD_SIZE", minimum=1, what=TORCHRUN)
    ranks = {"RANK": world, "LOCAL_RANK": local}
    for name, size in ranks.items():
        if whole_number(name, minimum=0, what=TORCHRUN) >= size:
            raise UserError(
                f"the environment variable {name} is {os.environ[name]!r}, of {size} process(es); {TORCHRUN}"
            )
    for name in ("MASTER_PORT", "GROUP_RANK"):
        if name in os.environ:
            whole_number(name, minimum=0, what=TORCHRUN)
    if world % local:
        raise UserError(
            f"the environment variables WORLD_SIZE={world} and LOCAL_WORLD_SIZE={local} contradict each other: every "
            f"machine must have the same number of processes; {TORCHRUN}"
        )
    return local, world // local


def _check_children(devices: int) -> None:
    """Where the recipe asks for several processes: what Lightning tells those that it starts."""
    for name, size in {"LOCAL_RANK": devices, "NODE_RANK": 1, "GROUP_RANK": 1, "MASTER_PORT": 65536}.items():
        if name in os.environ and whole_number(name, minimum=0, what=CHILDREN) >= size:
            raise UserError(
                f"the environment variable {name} is {os.environ[name]!r}, and must be below {size}; {CHILDREN}"
            )
