"""Environments behind one protocol: lanes that play chosen variations and reset in the step after the end."""

from gsljax.envs.brush_maze import BrushMaze, BrushMazeConfig
from gsljax.envs.gymnax_lanes import GymnaxLanes
from gsljax.envs.pools import Pools
from gsljax.envs.protocol import JaxEnvironment, LivePools, PoolAssignment, PooledEnvironment
from gsljax.envs.vector_pools import EnvPoolAdapter, GymnasiumAdapter, PoolStep, VectorPool

__all__ = [
    "BrushMaze",
    "BrushMazeConfig",
    "EnvPoolAdapter",
    "GymnasiumAdapter",
    "GymnaxLanes",
    "JaxEnvironment",
    "LivePools",
    "PoolAssignment",
    "PoolStep",
    "PooledEnvironment",
    "Pools",
    "VectorPool",
]
