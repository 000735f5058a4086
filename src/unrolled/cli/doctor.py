"""`unrolled doctor`: what this machine offers, which engine runs, and why."""

from typing import Any

from unrolled.cli.common import Common, say_json, table, verb
from unrolled.cli.figures import size

EXAMPLES = ("unrolled doctor", "unrolled doctor --json")


@verb
def doctor(common: Common) -> None:
    """What this machine offers: processor, memory, torch, engines for each cell and why, versions, the cache."""
    common.prepare()
    from unrolled.diagnosis import diagnosis

    found = diagnosis()
    if common.json:
        say_json(found)
    else:
        print(report(found))


def report(found: dict[str, Any]) -> str:
    """The diagnosis as people read it."""
    processor, memory, torch, cache = found["processor"], found["memory"], found["torch"], found["cache"]
    free = f", {size(memory['available'])} available" if memory["available"] else ""
    rows = [
        ["system", f"{found['system']}, Python {found['python']}"],
        ["processor", processor["model"]],
        ["", f"{processor['cores']} cores, {_usable(processor)}; {processor['vectors']}"],
        ["memory", f"{size(memory['total'])}{free}" if memory["total"] else "unknown"],
        ["torch", f"{torch['version']}, {torch['threads']} threads ({torch['interop_threads']} between operators)"],
        ["OpenMP", ", ".join(found["openmp"]["loaded"]) or "none found"],
        ["", _kernels(found["openmp"])],
        ["", _instructions(found["instructions"])],
        ["CUDA", "; ".join(_device(device) for device in found["cuda"]) or "no device"],
        ["cache", f"{cache['folder']}: {cache['files']} files, {size(cache['bytes'])}"],
        ["packages", ", ".join(f"{name} {version}" for name, version in found["packages"].items())],
    ]
    engines = [[line["cell"], line["device"], line["engine"], line["reason"]] for line in found["engines"]]
    return f"{table(rows)}\n\n{table(engines, header=['cell', 'device', 'engine', 'why'])}{_variable(found)}"


def _usable(processor: dict[str, Any]) -> str:
    quota = processor["quota"]
    return f"{processor['usable']} for this process" + (f" (its CPU quota is {quota:.4g})" if quota else "")


def _instructions(found: dict[str, str]) -> str:
    why = "this machine's own" if found["chosen"] == "native" else f"chosen by UNROLLED_CPU={found['chosen']}"
    return f"kernels are compiled for {found['name']} ({found['cpu']}), {why}"


def _kernels(openmp: dict[str, Any]) -> str:
    threads = "1 thread" if openmp["threads"] == 1 else f"{openmp['threads']} threads"
    where = f"{threads}, in {openmp['path']} ({openmp['flavour']})" if openmp["usable"] else "1 thread"
    return f"kernels run on {where}: {openmp['reason']}"


def _device(device: dict[str, Any]) -> str:
    return f"{device['name']}, {size(device['memory'])}, compute capability {device['capability']}"


def _variable(found: dict[str, Any]) -> str:
    value = found["environment"].get("UNROLLED_ENGINE")
    return f"\n\nUNROLLED_ENGINE is set: every layer with engine auto runs on {value}" if value else ""
