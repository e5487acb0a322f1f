"""What the tests share."""

import gc
import os
from pathlib import Path

import jax
import matplotlib
import pytest


@pytest.fixture(scope="module")
def compilation_cache(tmp_path_factory):
    """XLA's compiled programs, kept for the session's other tests, pytest's other workers and the processes they start.

    Returns:
      The environment that makes `gsljax` commands use it.
    """
    base = tmp_path_factory.getbasetemp()
    home = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    programs = str(home / "gsljax" / "xla")
    jax.config.update("jax_compilation_cache_dir", programs)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_disable_most_optimizations", True)  # the programs here take longer to compile than to run
    yield os.environ | {
        "XDG_CACHE_HOME": str(home),
        "JAX_COMPILATION_CACHE_DIR": programs,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "MPLCONFIGDIR": matplotlib.get_cachedir(),  # or matplotlib would look through all fonts again
    }
    jax.config.update("jax_compilation_cache_dir", None)
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module", autouse=True)
def freed_programs():
    """Frees a module's compiled programs after it: all together would reach Linux's limit of 65,530 memory maps."""
    yield
    _free_programs()


@pytest.fixture(autouse=True)
def few_memory_maps():
    """Frees compiled programs after a test that comes near that limit: beyond it the process would end in a crash."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and len(maps.read_bytes().splitlines()) > 30_000:
        _free_programs()


def _free_programs() -> None:
    jax.clear_caches()
    gc.collect()


def files_of(directory: Path) -> dict[str, bytes | None]:
    """Every file below a directory with its content, every folder with None."""
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None
        for path in sorted(directory.rglob("*"))
    }
