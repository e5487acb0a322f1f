"""Generalist-specialist learning: the plateau criterion, the assignment, demonstrations, stages, Algorithm 1."""
