"""Environments behind one protocol: lanes that play chosen variations and reset in the step after the end."""

from gsljax.envs.brush_maze import BrushMaze, BrushMazeConfig
from gsljax.envs.gymnax_lanes import GymnaxLanes
from gsljax.envs.protocol import JaxEnvironment

__all__ = ["BrushMaze", "BrushMazeConfig", "GymnaxLanes", "JaxEnvironment"]
