"""Programs of other libraries, timed beside ours: each in a process and a virtual environment of its own."""

import json
import subprocess
from pathlib import Path
from typing import Any


class Peer:
    """Another library's training program, in a process of its own that runs it once whenever asked."""

    def __init__(self, python: Path, script: str, settings: dict[str, Any]):
        """Start `benchmarks/peers/<script>` with a Python that can import the library, and wait until it is ready."""
        path = Path(__file__).parent / "peers" / script
        self._process = subprocess.Popen(
            [python, path, json.dumps(settings)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.about = self._answer()

    def run(self) -> None:
        """Train once."""
        assert self._process.stdin is not None
        print("run", file=self._process.stdin, flush=True)
        self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args} ended with {self._process.wait()}.")
        return json.loads(line)
