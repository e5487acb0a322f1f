"""The script that is a worker process: it imports what its environments need of gsljax, and not the rest.

Run by path, with the descriptors of a pipe and of the shared memory. Importing anything of a package runs the
package's `__init__`, and gsljax's bring JAX and most of gsljax: seconds, and much memory, for every worker. Here they
wait until a name is asked for that is not one of their modules, which a worker's environments may still do.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any


class _WaitingPackage(ModuleType):
    """A package whose `__init__` has not run; it becomes an ordinary one when it does."""

    def __getattr__(self, name: str) -> Any:
        spec = self.__spec__
        if name.startswith("__") or spec is None or not isinstance(spec.loader, _WaitingLoader):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}", name=name, obj=self)
        module = f"{self.__name__}.{name}"
        if importlib.util.find_spec(module) is not None:  # as `from package import module` asks first
            return importlib.import_module(module)
        self.__class__ = ModuleType  # pyright: ignore[reportAttributeAccessIssue]
        spec.loader.run(self)
        return getattr(self, name)


class _WaitingLoader(importlib.abc.Loader):
    """Loads a package without running it."""

    def __init__(self, loader: importlib.abc.Loader):
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """An empty package."""
        return _WaitingPackage(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing yet."""

    def run(self, module: ModuleType) -> None:
        """What loading it would have done."""
        self._loader.exec_module(module)


class WaitingPackages(importlib.abc.MetaPathFinder):
    """Finds the packages of gsljax, all of which wait; its modules that are no packages are as ever."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The package's, or None for everything else."""
        if fullname.split(".")[0] != "gsljax":
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.submodule_search_locations is None or spec.loader is None:
            return None
        spec.loader = _WaitingLoader(spec.loader)
        return spec


if __name__ == "__main__":
    sys.meta_path.insert(0, WaitingPackages())
    from gsljax.envs.lane_worker import main

    main(*map(int, sys.argv[1:]))
