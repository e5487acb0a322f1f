"""How long this process has been compiling, as JAX itself reports it."""

import jax

_COUNTED = ("/jax/core/compile/jaxpr_to_mlir_module_duration", "/jax/core/compile/backend_compile_duration")
"""Lowering, and compiling or reading the compiled program from a cache; they do not overlap, as tracing may."""


class _Total:
    seconds = 0.0


_total = _Total()


def _add(event: str, duration_secs: float, **kwargs: str | int) -> None:
    del kwargs
    if event in _COUNTED:
        _total.seconds += duration_secs


jax.monitoring.register_event_duration_secs_listener(_add)


def seconds_compiling() -> float:
    """Seconds that this process has spent on compiling so far, all threads together; differences are what counts."""
    return _total.seconds
