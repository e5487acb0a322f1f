"""Saving and restoring pytrees; the only module that knows orbax.

A checkpoint is a directory that appears whole or not at all (orbax writes beside it and renames). Leaves are stored
under their key paths, so a checkpoint can be read without the Python classes that made it; typed random keys are stored
as their data. Beside the arrays it holds a small JSON record.
"""

import logging
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from gsljax.errors import UserError

logging.getLogger("absl").setLevel(logging.CRITICAL)  # orbax reports every save, and prints what it also raises
_report_unraisable = sys.unraisablehook


def _report_all_but_abandoned_reads(unraisable: Any) -> None:
    """When one of orbax's reads fails, it closes the loop that the others report to, and each complains on stderr."""
    if "Event loop is closed" not in str(unraisable.exc_value):
        _report_unraisable(unraisable)


sys.unraisablehook = _report_all_but_abandoned_reads


def save(path: Path, tree: Any, record: dict[str, Any]) -> None:
    """Write `tree` and `record` to the new directory `path`.

    Raises:
      UserError: if it cannot be written, for instance because the disk is full.
    """
    arrays = {name: np.asarray(leaf) for name, leaf in _named_leaves(tree)}
    arguments = ocp.args.Composite(arrays=ocp.args.StandardSave(arrays), record=ocp.args.JsonSave(record))
    try:
        with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
            checkpointer.save(path.absolute(), args=arguments, force=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"The checkpoint {path} cannot be written ({_first_line(error)}).") from error


def restore(path: Path, template: Any) -> tuple[Any, dict[str, Any]]:
    """Read a checkpoint back into the structure of `template`, whose leaves have (only) the right shapes and dtypes.

    Returns:
      The tree and the record.

    Raises:
      UserError: if it cannot be read or does not fit the template.
    """
    restored = _restore(path, arrays=ocp.args.StandardRestore(), record=ocp.args.JsonRestore())
    expected = _paths_and_leaves(jax.eval_shape(partial(jax.tree.map, _key_data), template))
    found = {name: (array.dtype, array.shape) for name, array in restored.arrays.items()}
    for name, leaf in expected:
        if found.pop(name, None) != (leaf.dtype, leaf.shape):
            raise UserError(f"The checkpoint {path} cannot be used (it holds no {name} of {leaf.dtype}{leaf.shape}).")
    if found:
        raise UserError(f"The checkpoint {path} cannot be used (it holds {min(found)}, for which there is no place).")
    leaves = [
        jax.random.wrap_key_data(restored.arrays[name]) if _is_key(leaf) else jnp.array(restored.arrays[name])
        for name, leaf in _paths_and_leaves(template)
    ]
    return jax.tree.unflatten(jax.tree.structure(template), leaves), restored.record


def read_record(path: Path) -> dict[str, Any]:
    """The record of a checkpoint, without its arrays.

    Raises:
      UserError: if it cannot be read.
    """
    return _restore(path, record=ocp.args.JsonRestore()).record


def epochs(directory: Path) -> list[int]:
    """The epochs for which `directory` holds a whole checkpoint, ascending."""
    if not directory.is_dir():
        return []
    return sorted(int(entry.name) for entry in directory.iterdir() if entry.name.isdigit())


def prune(directory: Path, keep: set[int]) -> None:
    """Delete all checkpoints of `directory` but those of the epochs in `keep`, and what unfinished saves left."""
    if directory.is_dir():
        for entry in directory.iterdir():
            if not (entry.name.isdigit() and int(entry.name) in keep):
                shutil.rmtree(entry, ignore_errors=True)


def _restore(path: Path, **arguments: Any) -> Any:
    try:
        with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
            return checkpointer.restore(path.absolute(), args=ocp.args.Composite(**arguments))
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise UserError(f"The checkpoint {path} cannot be read ({_first_line(error)}).") from error


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _key_data(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _paths_and_leaves(tree: Any) -> list[tuple[str, Any]]:
    pairs, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [(jax.tree_util.keystr(path, simple=True, separator="."), leaf) for path, leaf in pairs]


def _named_leaves(tree: Any) -> list[tuple[str, Any]]:
    return _paths_and_leaves(jax.tree.map(_key_data, tree))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
