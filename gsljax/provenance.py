"""Where a result comes from: versions, hardware and source commit, for every file that holds figures."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

import jax


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a result."""
    packages = ("gsljax", "jax", "jaxlib", "flax", "optax", "gymnax", "orbax-checkpoint", "numpy")
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def hardware() -> dict[str, object]:
    """Processor, cores and JAX devices."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "devices": [device.device_kind for device in jax.devices()],
        "backend": jax.default_backend(),
    }


def commit() -> str | None:
    """Commit of the checkout that gsljax runs from, with `+changes` if it is not clean; None outside a checkout."""
    root = Path(__file__).parent.parent
    if not (root / ".git").exists():
        return None

    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True).stdout

    try:
        return git("rev-parse", "HEAD").strip() + ("+changes" if git("status", "--porcelain", "-uno").strip() else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
