"""What a run shows: the progress display, the TensorBoard log and the figures."""
