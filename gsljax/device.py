"""What is written differently for an accelerator: whether there is one, and how its programs are to be compiled."""

import jax

GRAPHS = "FUSION,CUBLAS,CUBLASLT,CUDNN,CUSTOM_CALL,DYNAMIC_SLICE_FUSION,CONVOLUTION"
"""What XLA may put into a CUDA graph: what it puts there anyhow, and convolutions (the names of jax 0.10 and 0.11)."""


def is_accelerator() -> bool:
    """Whether JAX computes on something else than the CPU, so that calls and transfers have a latency to be hidden."""
    return jax.default_backend() != "cpu"


def compiler_options() -> dict[str, str] | None:
    """For `jax.jit` of programs that are called often: on an NVIDIA GPU one launch for many kernels.

    An IMPALA network acts for 32 images in 75 kernels, each of which takes the host longer to launch than the GPU to
    run: 0.41 ms a call, as a graph 0.21 ms (an H100, measured once with a script that is not committed). Not with a
    persistent compilation cache, as `gsljax` on the command line has one: where a program from there is the first of a
    process to use cuDNN, that fails while the graph is recorded (status 5003; jax 0.11.2).
    """
    if jax.default_backend() != "gpu" or jax.config.values["jax_compilation_cache_dir"] is not None:
        return None
    return {"xla_gpu_enable_command_buffer": GRAPHS}
