"""What this machine offers to the engines, as plain values: nothing goes in, a JSON-able report comes out."""

import os
import platform
import re
import subprocess
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from unrolled import cores

PACKAGES = (
    "unrolled", "torch", "numpy", "llvmlite", "lightning-fabric", "tokenizers", "safetensors", "tomli-w", "typer",
    "rich", "matplotlib", "tensorboard",
)  # fmt: skip
VECTORS = (
    ("avx512f", "AVX-512, vectors of 512 bits"),
    ("avx2", "AVX2, vectors of 256 bits"),
    ("avx", "AVX, vectors of 256 bits"),
    ("sse2", "SSE2, vectors of 128 bits"),
    ("sve", "SVE, vectors of a length of its own"),
    ("asimd", "NEON, vectors of 128 bits"),
)
"""Processor flags, the widest first."""


def diagnosis() -> dict[str, Any]:
    """Processor, memory, torch, OpenMP, CUDA devices, engines, versions and the cache.

    >>> diagnosis()["engines"][0]["cell"]
    'rnn'
    """
    import torch

    return {
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "processor": processor(),
        "memory": memory(),
        "torch": {
            "version": torch.__version__,
            "threads": torch.get_num_threads(),
            "interop_threads": torch.get_num_interop_threads(),
        },
        "openmp": openmp(),
        "instructions": instructions(),
        "cuda": cuda_devices(),
        "engines": engines(),
        "packages": {name: installed(name) for name in PACKAGES},
        "cache": cache(),
        "environment": {name: value for name, value in os.environ.items() if name in ENVIRONMENT},
    }


ENVIRONMENT = (
    "UNROLLED_ENGINE", "UNROLLED_CPU", "UNROLLED_CACHE", "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT",
    "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES",
)  # fmt: skip
"""Variables that change what runs, or where."""


def processor() -> dict[str, Any]:
    """Model, cores, the cores that this process may use (its affinity and CPU quota), and the vector unit."""
    described = _text(Path("/proc/cpuinfo"))
    model = re.search(r"^(?:model name|Model|cpu model)\s*:\s*(.+)$", described, re.MULTILINE)
    return {
        "model": model[1] if model else _model_elsewhere(),
        "cores": os.cpu_count() or 1,
        "usable": cores.usable(),
        "quota": cores.quota(),
        "vectors": vectors(described),
    }


def vectors(described: str) -> str:
    """The widest vector unit that /proc/cpuinfo names; elsewhere, what torch's kernels use."""
    line = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", described, re.MULTILINE)
    flags = set(line[1].split()) if line else set()
    for flag, name in VECTORS:
        if flag in flags:
            return name
    import torch

    return f"torch uses its {torch.backends.cpu.get_cpu_capability()} kernels"


def _model_elsewhere() -> str:
    if platform.system() == "Darwin":
        try:
            return subprocess.run(
                ["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, timeout=5, check=True
            ).stdout.strip()
        except (OSError, subprocess.SubprocessError):
            pass
    return platform.processor() or "unknown"


def memory() -> dict[str, int | None]:
    """Bytes of memory, in all and available; None where the system does not say."""
    sizes = dict(re.findall(r"^(\w+):\s+(\d+) kB$", _text(Path("/proc/meminfo")), re.MULTILINE))
    found = {name: int(sizes[key]) * 1024 if key in sizes else None for name, key in MEMORY.items()}
    if found["total"] is None:
        with suppress(AttributeError, ValueError, OSError):
            found["total"] = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return found


MEMORY = {"total": "MemTotal", "available": "MemAvailable"}


def openmp() -> dict[str, Any]:
    """The OpenMP runtimes that this process has loaded (where that cannot be seen, torch's own word), and which of them
    runs kernels: its path, whose it is, whether it is usable, and why; and on how many threads."""
    import torch

    from unrolled.recurrence.openmp import loaded, state, threads_for

    names = [Path(path).name for path in loaded()]
    told = re.search(r"^\s*(?:- )?(OpenMP .+)$", torch.__config__.show(), re.MULTILINE)
    if not names and told:
        names = [told[1]]
    return {"loaded": names, **asdict(state()), "threads": threads_for()}


def instructions() -> dict[str, str]:
    """The instruction set that kernels are compiled for: its name, LLVM's name of the processor, and who chose it."""
    from unrolled.recurrence.kernels.target import VARIABLE, host

    chosen = os.environ.get(VARIABLE) or "native"
    return {"name": host().name, "cpu": host().cpu, "chosen": chosen}


def cuda_devices() -> list[dict[str, Any]]:
    """The CUDA devices: name, bytes of memory, compute capability."""
    import torch

    if not torch.cuda.is_available():
        return []
    found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [
        {"name": device.name, "memory": device.total_memory, "capability": f"{device.major}.{device.minor}"}
        for device in found
    ]


def engines() -> list[dict[str, str]]:
    """For each of the package's cells, and each kind of device, the engine that `auto` chooses, and why."""
    import torch

    from unrolled.cells import CELLS
    from unrolled.nn import Recurrent

    devices = ["cpu", "cuda"][: 1 + torch.cuda.is_available()]
    found = []
    for cell in CELLS.values():
        for device in devices:
            try:
                layer = Recurrent(cell, 8, 8, device=device)
                engine = layer.engine_for(torch.zeros(4, 2, 8, device=device))
                name, reason = engine.name, engine.reason
            except ValueError as refusal:  # UNROLLED_ENGINE asks for one that cannot
                name, reason = "none", str(refusal)
            found.append({"cell": cell.name, "device": device, "engine": name, "reason": reason})
    return found


def installed(package: str) -> str:
    """A package's version."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def cache() -> dict[str, Any]:
    """The cache folder, its files and their bytes."""
    from unrolled.data.cache import cache_folder

    folder = cache_folder()
    files = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
    return {"folder": str(folder), "files": len(files), "bytes": sum(path.stat().st_size for path in files)}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
