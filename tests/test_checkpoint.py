"""A checkpoint gives back every leaf bitwise, appears whole or not at all, and never half fits."""

import resource
import shutil
import subprocess
import sys
import textwrap
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from gsljax import checkpoint
from gsljax.errors import UserError
from tests.conftest import files_of


class State(NamedTuple):
    params: Any
    counts: Any
    key: Any


def state() -> State:
    return State(
        params={
            "weights": jnp.asarray(np.random.default_rng(0).normal(size=(3, 4)), jnp.float32),
            "half": jnp.linspace(-1, 1, 7, dtype=jnp.bfloat16),
            "special": jnp.asarray([jnp.nan, jnp.inf, -0.0, 1e-45], jnp.float32),
            "nested": {"a.b": jnp.ones((2, 1)), "list": [jnp.zeros(()), (jnp.asarray(7, jnp.uint8),)]},
        },
        counts=State(jnp.asarray(3, jnp.int32), jnp.asarray([True, False]), None),
        key=jax.random.split(jax.random.key(5), 3),
    )


def shapes_of(tree: Any) -> Any:
    return jax.eval_shape(lambda: tree)


def assert_bitwise_equal(tree: Any, other: Any) -> None:
    assert jax.tree.structure(tree) == jax.tree.structure(other)
    for one, two in zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True):
        assert (one.dtype, one.shape) == (two.dtype, two.shape)
        if jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
            one, two = jax.random.key_data(one), jax.random.key_data(two)
        assert np.asarray(one).tobytes() == np.asarray(two).tobytes()


@pytest.fixture
def saved(tmp_path):
    checkpoint.save(tmp_path / "stage" / "4", state(), {"epochs": 4, "wall_seconds": 0.1 + 0.2, "metrics_bytes": None})
    return tmp_path / "stage" / "4"


def test_every_leaf_comes_back_bitwise(saved):
    restored, record = checkpoint.restore(saved, shapes_of(state()))
    assert_bitwise_equal(restored, state())
    assert record == {"epochs": 4, "wall_seconds": 0.1 + 0.2, "metrics_bytes": None}
    assert checkpoint.read_record(saved) == record
    assert isinstance(restored, State) and restored.params["half"].dtype == ml_dtypes.bfloat16


def test_restored_leaves_can_be_donated(saved):
    restored, _ = checkpoint.restore(saved, shapes_of(state()))
    after = jax.jit(lambda tree: jax.tree.map(lambda x: x, tree), donate_argnums=0)(restored)
    assert_bitwise_equal(after, state())


def test_numpy_leaves_are_saved_too(tmp_path):
    tree = {"array": np.arange(3, dtype=np.int32), "scalar": np.float32(2.5)}
    checkpoint.save(tmp_path / "1", tree, {})
    restored, _ = checkpoint.restore(tmp_path / "1", shapes_of(tree))
    np.testing.assert_array_equal(restored["array"], [0, 1, 2])
    assert restored["scalar"] == 2.5


def test_another_process_can_read_it_without_the_classes(saved):
    program = f"""
        from pathlib import Path
        import jax, jax.numpy as jnp
        from gsljax import checkpoint
        template = {{"params": {{
            "weights": jnp.zeros((3, 4)), "half": jnp.zeros(7, jnp.bfloat16), "special": jnp.zeros(4),
            "nested": {{"a.b": jnp.zeros((2, 1)), "list": [jnp.zeros(()), (jnp.asarray(0, jnp.uint8),)]}},
        }}, "counts": {{"params": jnp.zeros((), jnp.int32), "counts": jnp.zeros(2, bool)}},
            "key": jax.random.split(jax.random.key(0), 3)}}
        tree, record = checkpoint.restore(Path({str(saved)!r}), template)
        print(record["epochs"], tree["counts"]["params"], tree["params"]["weights"][0, 0])
    """
    printed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
    ).stdout
    assert printed.split()[:2] == ["4", "3"]
    assert float(printed.split()[2]) == pytest.approx(float(state().params["weights"][0, 0]), rel=1e-6)


def assert_refused(message: str, function, *arguments):
    with pytest.raises(UserError, match=message) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(").")


@pytest.mark.parametrize(
    "changed",
    [
        lambda s: s._replace(key=s.key[:2]),
        lambda s: s._replace(key=jax.random.key(0)),
        lambda s: s._replace(counts=None),
        lambda s: s._replace(counts=s.counts._replace(key=jnp.zeros(()))),
        lambda s: s._replace(counts=s.counts._replace(params=jnp.zeros((), jnp.float32))),
        lambda s: s._replace(params={**s.params, "weights": jnp.zeros((4, 3))}),
        lambda s: s._replace(params={**s.params, "weights": jnp.zeros((3, 5))}),
        lambda s: s._replace(params={**s.params, "weights": jnp.zeros((2, 4))}),
        lambda s: s._replace(params={**s.params, "half": jnp.zeros(7)}),
        lambda s: s._replace(params={**s.params, "new": jnp.zeros(7)}),
        lambda s: s._replace(params={name: leaf for name, leaf in s.params.items() if name != "half"}),
        lambda s: s._replace(params={}),
    ],
)
def test_a_template_that_does_not_fit_is_refused(saved, changed):
    template = shapes_of(changed(state()))
    assert_refused(r"^The checkpoint .*/stage/4 cannot be used \(it holds ", checkpoint.restore, saved, template)


def test_nothing_or_something_else_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("no checkpoint")
    for name in ("nowhere", "empty", "file"):
        assert_refused(rf"^The checkpoint .*/{name} cannot be read \(", checkpoint.restore, tmp_path / name, state())
        assert_refused(rf"^The checkpoint .*/{name} cannot be read \(", checkpoint.read_record, tmp_path / name)


# Where one read fails, TensorStore's others may end when Orbax's event loop is closed already (seen on a busy machine).
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_every_damaged_file_is_noticed_or_does_not_matter(saved, tmp_path):
    """Each file of a checkpoint in turn is cut, emptied, overwritten or missing: refused, or read back bitwise."""
    refused = 0
    for name, content in files_of(saved).items():
        if content is None:
            continue
        for damaged in (content[: len(content) // 2], b"", bytes(len(content)), None):
            path = tmp_path / "damaged" / "4"
            shutil.copytree(saved, path)
            if damaged is None:
                (path / name).unlink()
            else:
                (path / name).write_bytes(damaged)
            try:
                restored, record = checkpoint.restore(path, shapes_of(state()))
            except UserError as error:
                refused += 1
                assert str(error).startswith(f"The checkpoint {path} cannot be read (") and "\n" not in str(error)
            else:
                assert_bitwise_equal(restored, state())
                assert record["epochs"] == 4
            shutil.rmtree(tmp_path / "damaged")
    assert refused > 4


def test_a_full_disk_leaves_no_half_checkpoint(saved):
    before = files_of(saved)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        tree = {"large": np.random.default_rng(0).normal(size=100_000).astype(np.float32)}
        assert_refused(r"^The checkpoint .*/6 cannot be written \(", checkpoint.save, saved.parent / "6", tree, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert checkpoint.epochs(saved.parent) == [4] and files_of(saved) == before
    checkpoint.save(saved.parent / "6", tree, {})  # once there is room again
    assert checkpoint.epochs(saved.parent) == [4, 6]
    np.testing.assert_array_equal(checkpoint.restore(saved.parent / "6", tree)[0]["large"], tree["large"])


def test_a_target_that_cannot_be_is_refused(tmp_path):
    (tmp_path / "file").write_text("in the way")
    path = tmp_path / "file" / "4"
    assert_refused(r"^The checkpoint .*/file/4 cannot be written \(", checkpoint.save, path, state(), {})


def test_only_whole_checkpoints_are_listed_and_the_rest_is_pruned(tmp_path):
    assert checkpoint.epochs(tmp_path / "nowhere") == []
    checkpoint.prune(tmp_path / "nowhere", keep=set())
    for name in ("5", "10", "15", "20.orbax-checkpoint-tmp", "25.orbax-checkpoint-tmp-17"):
        (tmp_path / name / "arrays").mkdir(parents=True)
    assert checkpoint.epochs(tmp_path) == [5, 10, 15]
    checkpoint.prune(tmp_path, keep={10})
    assert [entry.name for entry in tmp_path.iterdir()] == ["10"]
