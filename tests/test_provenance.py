"""What a result's origin says of versions, hardware and commit."""

import importlib.metadata
import json
import platform
import subprocess

from gsljax import provenance


def test_versions_are_those_installed():
    versions = provenance.versions()
    assert versions["python"] == platform.python_version()
    assert versions["jax"] == importlib.metadata.version("jax")
    assert set(versions) >= {"gsljax", "jaxlib", "flax", "optax", "gymnax", "orbax-checkpoint", "numpy"}


def test_hardware_is_json():
    hardware = json.loads(json.dumps(provenance.hardware()))
    assert hardware["backend"] in ("cpu", "gpu", "tpu") and hardware["devices"]
    assert hardware["cores"] >= 1 and hardware["processor"]


def checkout(tmp_path, monkeypatch):
    package = tmp_path / "gsljax"
    package.mkdir()
    (package / "provenance.py").write_text("")
    monkeypatch.setattr(provenance, "__file__", str(package / "provenance.py"))

    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    return package, git


def test_the_commit_says_whether_the_checkout_was_clean(tmp_path, monkeypatch):
    package, git = checkout(tmp_path, monkeypatch)
    assert provenance.commit() is None  # no checkout
    git("init")
    assert provenance.commit() is None  # no commit
    git("add", ".")
    git("commit", "-m", "first")
    commit = git("rev-parse", "HEAD")
    assert provenance.commit() == commit
    (package / "provenance.py").write_text("changed")
    assert provenance.commit() == commit + "+changes"


def test_without_git_there_is_no_commit(tmp_path, monkeypatch):
    (tmp_path / ".git").mkdir()
    checkout(tmp_path, monkeypatch)
    monkeypatch.setenv("PATH", "")
    assert provenance.commit() is None
