"""Say what made a result: versions, code, device, precision."""

from __future__ import annotations

import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sgdnoise
from sgdnoise.machine import parallel, precision


def collect(device: torch.device, settings: dict[str, Any]) -> dict[str, Any]:
    """Describe the code, the libraries and the device of this process, and the precision that the settings of a cell choose."""
    return {
        "version": sgdnoise.__version__,
        **code_version(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "processes": parallel.size(),
        "precision": precision.DESCRIPTIONS[precision.of(settings)],
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def code_version() -> dict[str, Any]:
    """Return the git commit of the package and whether its folder has uncommitted changes ("unknown" outside git)."""
    folder = Path(sgdnoise.__file__).parent

    def git(*words: str) -> str | None:
        try:
            return subprocess.run(
                ("git", "-C", folder, *words), capture_output=True, encoding="utf-8", errors="replace", check=True
            ).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return None

    commit, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", "--", str(folder))
    return {"commit": commit or "unknown", "dirty": "unknown" if changes is None else bool(changes)}


def device_name(device: torch.device) -> str:
    """Name the device as its maker does, of a CPU with the vector instructions that torch uses there: they decide the rounding."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"CPU {name} ({torch.backends.cpu.get_cpu_capability()})"
