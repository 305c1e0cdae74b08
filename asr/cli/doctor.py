"""`asr doctor`: what this machine has, what is missing, and how to mend it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from kernels.driver import CudaStatus

# What the recogniser needs, as pip names it
PACKAGES = (
    "numpy",
    "numba",
    "llvmlite",
    "scipy",
    "librosa",
    "soundfile",
    "soxr",
    "safetensors",
    "jiwer",
    "rich",
    "typer",
    "platformdirs",
)


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Look at this machine: packages, processor, GPUs, cache; say what is missing and how to mend it.

    The exit code is 0 where the default device works, whatever else is missing.
    """
    facts = examine()
    print(json.dumps(facts) if as_json else report(facts))
    if not facts["works"]:
        raise typer.Exit(1)


def examine() -> dict[str, Any]:
    """The facts, JSON-able; nothing that is broken makes this fail."""
    import asr
    import kernels

    status = kernels.cuda_status()
    packages = {name: _version(name) for name in PACKAGES}
    cache = _cache()  # before a device is tried, which may compile a kernel
    default = os.environ.get("ASR_BACKEND") or "auto"
    devices = {name: _try(name) for name in dict.fromkeys((default, "cpu", "cuda"))}
    facts = {
        "asr": asr.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": packages,
        "cores": {"all": os.cpu_count(), "usable": _usable_cores()},
        "devices": devices,
        "cuda": _cuda(status),
        "cache": cache,
        "default": default,
        "works": devices[default]["works"],
    }
    return facts | {"problems": _problems(facts, status)}


def report(facts: dict[str, Any]) -> str:
    """The facts for a person."""
    cache, cuda = facts["cache"], facts["cuda"]
    kept = f"{cache['bytes'] / 1e6:.1f} MB, compiled kernels: {cache['kernels']}"
    rows = {
        "asr": f"{facts['asr']}, Python {facts['python']}, {facts['system']}",
        "packages": ", ".join(f"{name} {version or 'MISSING'}" for name, version in facts["packages"].items()),
        "processor": f"{facts['cores']['all']} cores, {facts['cores']['usable']} of them for this process",
        "driver": _driver_line(cuda),
        **{f"GPU {number}": _gpu_line(device) for number, device in enumerate(cuda["devices"])},
        "CUDA": ", ".join(part or f"no {name}" for name, part in cuda["parts"].items()),
        "cache": f"{cache['folder']} ({'' if cache['writable'] else 'NOT '}writable, {kept})",
        **{f"device {name}": _device_line(device) for name, device in facts["devices"].items()},
    }
    width = max(map(len, rows))
    lines = [f"{name:{width}}  {text}" for name, text in rows.items()]
    for problem in facts["problems"]:
        lines += ["", f"- {problem['what']}", f"  {problem['fix']}"]
    return "\n".join(lines)


def _driver_line(cuda: dict[str, Any]) -> str:
    if cuda["driver"] is None:
        return str(cuda["fault"])
    release = f"{cuda['release']}, " if cuda["release"] else ""
    return f"{release}knows CUDA {cuda['driver']}" + (f"; {cuda['fault']}" if cuda["fault"] else "")


def _gpu_line(device: dict[str, Any]) -> str:
    return (
        f"{device['name']}, compute capability {device['capability']}, {device['multiprocessors']} multiprocessors, "
        f"{device['memory_bytes'] / 1e9:.1f} GB"
    )


def _device_line(device: dict[str, Any]) -> str:
    return f"works ({device['description']})" if device["works"] else f"does not work: {device['error']}"


def _cuda(status: CudaStatus) -> dict[str, Any]:
    return {
        "driver": _dotted(status.driver) if status.driver else None,
        "release": status.release or None,
        "fault": status.fault or None,
        "devices": [
            {
                "name": device.name,
                "capability": _dotted(device.capability),
                "multiprocessors": device.multiprocessors,
                "memory_bytes": device.memory,
            }
            for device in status.devices
        ],
        "parts": {name: part or None for name, part in status.parts.items()},
    }


def _try(name: str) -> dict[str, Any]:
    """Open a device and let it compute a little."""
    try:
        import numpy as np

        from kernels import open_backend

        backend = open_backend(name)
        norm = backend.norm(backend.to_device(np.array([3.0, 4.0], np.float32)))
        error = "" if abs(norm - 5.0) < 1e-6 else f"it computed {norm} where 5 is right: report this"
        return {"works": not error, "description": backend.describe(), "error": error or None}
    except Exception as error:  # whatever is broken here, saying so is the point of this command
        words = next((line for line in str(error).splitlines() if line.strip()), "") or type(error).__name__
        return {"works": False, "description": None, "error": words}


def _cache() -> dict[str, Any]:
    """The folder of this version's compiled kernels."""
    try:
        from kernels.warmup import cache_folder

        folder = cache_folder()
    except Exception:  # Numba is missing or broken: the devices say so
        from asr.files import cache_folder as any_folder

        folder = any_folder("kernels")
    files = [file for file in folder.glob("*") if file.is_file()] if os.path.isdir(folder) else []
    return {
        "folder": str(folder),
        "writable": _writable(folder),
        "bytes": sum(file.stat().st_size for file in files),
        "kernels": sum(file.suffix == ".nbi" for file in files),
    }


def _writable(folder: Path) -> bool:
    """Whether files can be made there, or in what it would be made in."""
    there = next(place for place in (folder, *folder.absolute().parents) if os.path.exists(place))
    try:
        with tempfile.TemporaryFile(dir=there):
            return True
    except OSError:
        return False


def _problems(facts: dict[str, Any], status: CudaStatus) -> list[dict[str, Any]]:
    """What is missing and the fix, what the default device lacks first."""
    found = [
        {"what": f"the package {name} is not installed", "fix": f"pip install {name}"}
        for name, version in facts["packages"].items()
        if version is None
    ]
    if not facts["works"]:
        what = f"the default device, {facts['default']}, does not work: {facts['devices'][facts['default']]['error']}"
        found.append({"what": what, "fix": "mend what is missing, or choose another with ASR_BACKEND or --device"})
    if not facts["cache"]["writable"]:
        what = f"{facts['cache']['folder']} cannot be written, so every start compiles the kernels again"
        found.append({"what": what, "fix": "set ASR_CACHE to a folder that can be written"})
    elif not facts["cache"]["kernels"]:
        found.append({"what": "no kernel is compiled yet: the first use takes longer", "fix": "asr warmup"})
    return found + [{"what": f"for a GPU: {each.what}", "fix": each.fix} for each in status.problems()]


def _usable_cores() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
