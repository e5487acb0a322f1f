"""What the tests of the comparisons share."""

import pytest

from gsljax.cli import main as gsljax


@pytest.fixture
def begun(monkeypatch):
    """A function of a `gsljax` call, as the comparisons make them: the preset and the settings that it begins with."""
    calls = []
    monkeypatch.setattr("gsljax.api._execute", lambda preset, config, *others: calls.append((preset, config)) or {})
    monkeypatch.setattr("gsljax.cli._use_compilation_cache", lambda: None)

    def begin(call):
        gsljax(call[3:])  # without the interpreter and the module
        return calls.pop()

    return begin
