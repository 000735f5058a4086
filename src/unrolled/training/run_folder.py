"""The files of a run: written so that a kill at any moment leaves them whole, read with a message for every flaw."""

import json
import os
import platform
import secrets
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unrolled.errors import UserError
from unrolled.files import (
    atomic_write_bytes,
    atomic_write_text,
    clear_leftovers,
    disk,
    elsewhere,
    open_regular,
    parsed_json,
    read_json,
    replacing,
    sync_file,
    sync_folder,
    write_json,
)
from unrolled.training.log import LOG, append_log, read_log, truncate_log

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "append_log",
    "atomic_write_bytes",
    "atomic_write_text",
    "check_run_folder",
    "create_run_folder",
    "load_state",
    "load_weights",
    "read_json",
    "read_log",
    "save_state",
    "save_weights",
    "truncate_log",
    "version_differences",
    "versions",
    "write_json",
    "write_versions",
]

RECIPE = "recipe.toml"
WEIGHTS = "model.safetensors"
STATE = "state.safetensors"
STATE_MIRROR = "state.json"
VERSIONS = "versions.json"
METRICS = "metrics.json"
FINGERPRINT = "data"
"""The key, in the metadata of the weights, of the data that they were trained on."""
CURVES = "curves.png"
OURS = (RECIPE, WEIGHTS, STATE, STATE_MIRROR, VERSIONS, METRICS, CURVES, LOG)
"""The files that training writes, one process at a time."""
STATE_KEY = "state"


def check_run_folder(folder: Path) -> None:
    """Refuse a folder that no training has written.

    Raises:
        UserError: it is none.
    """
    if not (folder / RECIPE).is_file():
        why = f"it holds no {RECIPE}" if folder.is_dir() else "there is no such folder"
        raise UserError(f'{folder} is no run folder: {why}; give what `unrolled train` prints as "run folder"')


def create_run_folder(
    base: Path, name: str, *, explicit: Path | None = None, fill: Callable[[Path], None] | None = None
) -> Path:
    """Create ``base/NAME`` (or NAME-2, NAME-3, ... where that exists) or exactly ``explicit``; give its path.

    ``fill(folder)`` writes the first files under a temporary name in the same place; only then does the folder get
    its own name, so a run folder that exists can be loaded.

    Raises:
        UserError: when ``explicit`` exists, ``name`` is no plain name, or the place cannot be written.

    >>> create_run_folder(Path("runs"), "names", fill=write_versions)    # doctest: +SKIP
    PosixPath('runs/names')
    """
    if explicit is None and (not name or name.startswith(".") or set(name) & set("/\\:\0")):
        raise UserError(f"{name!r} cannot name a run; use letters, digits, - and _, or give --run DIR")
    if explicit is not None and os.path.lexists(explicit):
        raise UserError(f"{explicit} exists already; give --run another folder, or go on with it: --resume {explicit}")
    parent = explicit.parent if explicit is not None else base
    with disk(f"no run can be created in {parent}"):
        parent.mkdir(parents=True, exist_ok=True)
        partial = parent / f".{(explicit or Path(name)).name}-{secrets.token_hex(4)}.partial"
        partial.mkdir()
    try:
        if fill is not None:
            fill(partial)
        with disk(f"no run can be created in {parent}"):
            return _take_name(partial, parent, name, explicit)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _take_name(partial: Path, parent: Path, name: str, explicit: Path | None) -> Path:
    for target in [explicit] if explicit is not None else _candidates(parent, name):
        if os.path.lexists(target):
            continue
        try:
            os.rename(partial, target)
        except OSError:
            if not os.path.lexists(target):
                raise
        else:
            sync_folder(parent)
            return target
    raise UserError(f"{explicit} was created by someone else just now; give --run another folder")


def _candidates(parent: Path, name: str) -> Iterator[Path]:
    yield parent / name
    number = 2
    while True:
        yield parent / f"{name}-{number}"
        number += 1


def save_state(folder: Path, tensors: Mapping[str, "Tensor"], state: Mapping[str, Any]) -> None:
    """Replace the training state: ``tensors`` and the JSON-able ``state`` change together or not at all.

    Both travel in state.safetensors, the JSON in its metadata, so one rename replaces the pair. state.json is a copy
    for people to read (with null where a number is not finite); nothing reads it back.
    """
    text = json.dumps(state)  # Python's own NaN and Infinity: this copy has to come back exactly
    _save_tensors(folder / STATE, tensors, {STATE_KEY: text})
    write_json(folder / STATE_MIRROR, state)


def load_state(folder: Path) -> tuple[dict[str, "Tensor"], dict[str, Any]]:
    """Give what ``save_state`` saved last: the tensors, on the CPU, and the state.

    Raises:
        UserError: when the file is missing, cut short, or not a training state.
    """
    path = folder / STATE
    advice = f"the run cannot go on; start a new one from its weights: --init {folder}"
    tensors, metadata = _load_tensors(path, advice)
    try:
        # Python's own NaN and Infinity are read too: save_state writes them
        state = parsed_json(metadata[STATE_KEY].encode("utf-8", "surrogatepass"), finite=False)
    except KeyError:
        raise UserError(f"{path} holds tensors but no training state (no metadata {STATE_KEY!r}); {advice}") from None
    except ValueError as error:
        raise UserError(f"{path}: its metadata {STATE_KEY!r} is not JSON ({error}); {advice}") from None
    if not isinstance(state, dict):
        raise UserError(f"{path}: its metadata {STATE_KEY!r} is no JSON object; {advice}")
    return tensors, state


def save_weights(folder: Path, tensors: Mapping[str, "Tensor"], metadata: Mapping[str, str] | None = None) -> None:
    """Replace model.safetensors with ``tensors`` and its ``metadata`` (text only)."""
    _save_tensors(folder / WEIGHTS, tensors, dict(metadata or {}))


def load_weights(folder: Path, names: Collection[str] | None = None) -> tuple[dict[str, "Tensor"], dict[str, str]]:
    """Give the run's weights, on the CPU, and their metadata.

    Raises:
        UserError: when the file is missing, cut short or no safetensors file, or, where ``names`` are given, when it
            holds other tensors than these.
    """
    path = folder / WEIGHTS
    tensors, metadata = _load_tensors(path, "copy the run folder again, or train it anew")
    if names is not None:
        _check_names(path, set(tensors), set(names))
    return tensors, metadata


def _check_names(path: Path, found: set[str], expected: set[str]) -> None:
    missing, surplus = sorted(expected - found), sorted(found - expected)
    flaws = [f"lacks {_listed(missing)}"] if missing else []
    flaws += [f"has {_listed(surplus)} that the model has not"] if surplus else []
    if flaws:
        raise UserError(f"{path} does not fit {RECIPE} beside it: it {' and '.join(flaws)}; take both from one run")


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _save_tensors(path: Path, tensors: Mapping[str, "Tensor"], metadata: dict[str, str]) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    clear_leftovers(path.parent, OURS)
    with replacing(path) as temporary:
        temporary.touch()  # shows the permissions that files get here; safetensors' own are its owner's only
        permissions = temporary.stat().st_mode & 0o777
        try:
            save_file(_apart(tensors), temporary, metadata=metadata)
        except SafetensorError as error:
            raise OSError(None, str(error)) from None
        temporary.chmod(permissions)
        sync_file(temporary)


def _apart(tensors: Mapping[str, "Tensor"]) -> dict[str, "Tensor"]:
    """Copy tensors that share memory (tied weights): safetensors refuses them, and each must come back by its name."""
    apart: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        address = plain.untyped_storage().data_ptr()
        apart[name] = plain.clone() if address in seen else plain
        seen.add(address)
    return apart


def _load_tensors(path: Path, advice: str) -> tuple[dict[str, "Tensor"], dict[str, str]]:
    """Every tensor of a file, mapped from it: what is not touched takes no memory, whatever size the file claims."""
    from safetensors import safe_open

    try:
        open_regular(path).close()
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except FileNotFoundError:
        raise UserError(f"{path} is missing; {elsewhere(path.parent)}, or {advice}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}); {advice}") from None
    except Exception as error:  # SafetensorError, and whatever torch says of a type or a place that it does not have
        reason = str(error).partition("\n")[0][:200] or type(error).__name__
        raise UserError(f"{path} is cut short or no safetensors file ({reason}); {advice}") from None


def versions() -> dict[str, Any]:
    """Give what can change a run's numbers from outside it: versions, platform, threads; no paths, no host name."""
    import torch

    packages = {name: _version(name) for name in ("unrolled", "torch", "numpy")}
    machine = f"{platform.system()} {platform.machine()}"
    return {**packages, "python": platform.python_version(), "platform": machine, "threads": torch.get_num_threads()}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def write_versions(folder: Path) -> None:
    """Write versions.json."""
    write_json(folder / VERSIONS, versions())


def version_differences(folder: Path) -> list[str]:
    """Say in which ways this process differs from the one that started the run: then resuming is not bit for bit.

    >>> version_differences(Path("runs/names"))    # doctest: +SKIP
    ['threads: 2 then, 4 now']
    """
    then, now = read_json(folder / VERSIONS), versions()
    return [f"{key}: {_short(then.get(key))} then, {value} now" for key, value in now.items() if then.get(key) != value]


def _short(value: object) -> str:
    """A value of a foreign file, in a line."""
    return " ".join(str(value).split())[:60]
