"""The machine that the numbers were measured on."""

from __future__ import annotations

import os
import platform
import re
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.figure import medians_of, seconds_of


def machine_facts(copy_bytes: int = 1 << 28) -> dict[str, Any]:
    """Name processor, cores, load, memory and versions, and measure a plain copy in memory."""
    (copying,) = medians_of(5, copy_seconds(copy_bytes))
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "memory_GB": round(psutil.virtual_memory().total / 1e9, 1),
        "copy_GB_per_s": round(copy_bytes / copying / 1e9, 2),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "openssl": ssl.OPENSSL_VERSION,
    }


def copy_seconds(size: int) -> Callable[[], float]:
    """Make a measurement of one copy of so many bytes into memory that was touched before."""
    source, target = np.ones(size, np.uint8), np.zeros(size, np.uint8)
    return lambda: seconds_of(lambda: np.copyto(target, source))


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.+)$", path.read_text(), re.M) if path.exists() else None
    return found.group(1) if found else platform.processor() or platform.machine()
