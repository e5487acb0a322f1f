"""Points on the collision shapes of ManiSkill's links; they stand for the visual meshes, which chairs do not have."""

import importlib
from typing import Any

import numpy as np

from gsljax.envs.push_chair.cloud import Surface

FEWEST_OF_A_SHAPE = 20


def sample_links(links: list[Any], count: int, segment: int, seed: int) -> tuple[list[Any], list[Surface]]:
    """About `count` points on all links, by area, but some on the smallest shape.

    Returns:
      The links' components, of those that have a shape, and their surfaces in the links' frames.
    """
    sampling = importlib.import_module("trimesh.sample")
    shaped = [(body, shape_meshes(body)) for body in (link._objs[0] for link in links)]
    shaped = [(body, meshes) for body, meshes in shaped if meshes]
    area = sum(mesh.area for _, meshes in shaped for mesh in meshes)
    surfaces, random = [], np.random.default_rng(seed)
    for _, meshes in shaped:
        points, normals = [], []
        for mesh in meshes:
            wanted = max(FEWEST_OF_A_SHAPE, int(count * mesh.area / area))
            found, faces = sampling.sample_surface(mesh, wanted, seed=int(random.integers(2**31)))
            points.append(np.asarray(found))
            normals.append(np.asarray(mesh.face_normals[faces]))
        surfaces.append(Surface(np.concatenate(points), np.concatenate(normals), segment))
    return [body for body, _ in shaped], surfaces


def sample_each_link(links: list[Any], count: int) -> tuple[list[Any], list[np.ndarray]]:
    """The components of the links that have a shape, and `count` points `[count, 3]` on each of them."""
    sampling, joined = importlib.import_module("trimesh.sample"), importlib.import_module("trimesh.util")
    bodies, points = [], []
    for link in links:
        meshes = shape_meshes(link._objs[0])
        if meshes:
            bodies.append(link._objs[0])
            found, _ = sampling.sample_surface(joined.concatenate(meshes), count, seed=0)
            points.append(np.asarray(found, np.float32))
    return bodies, points


def poses_of(bodies: list[Any]) -> np.ndarray:
    """Poses `[n, 4, 4]` of components, in the world's frame."""
    return np.stack([body.entity_pose.to_transformation_matrix() for body in bodies])


def shape_meshes(body: Any) -> list[Any]:
    """A mesh in the link's frame for each of a component's collision shapes.

    Raises:
      TypeError: for a kind of shape that neither robot nor chairs have.
    """
    meshes = []
    for shape in body.collision_shapes:
        mesh = _mesh(shape)
        mesh.apply_transform(shape.local_pose.to_transformation_matrix())
        meshes.append(mesh)
    return meshes


def _mesh(shape: Any) -> Any:
    trimesh, physx = importlib.import_module("trimesh"), importlib.import_module("sapien.physx")
    if isinstance(shape, physx.PhysxCollisionShapeBox):
        return trimesh.creation.box(extents=2 * np.asarray(shape.half_size))
    if isinstance(shape, physx.PhysxCollisionShapeSphere):
        return trimesh.creation.icosphere(subdivisions=2, radius=shape.radius)
    if isinstance(shape, physx.PhysxCollisionShapeCapsule):  # along x in PhysX, along z in trimesh
        mesh = trimesh.creation.capsule(height=2 * shape.half_length, radius=shape.radius)
        mesh.apply_transform(trimesh.transformations.rotation_matrix(np.pi / 2, [0, 1, 0]))
        return mesh
    if isinstance(shape, physx.PhysxCollisionShapeConvexMesh | physx.PhysxCollisionShapeTriangleMesh):
        return trimesh.Trimesh(shape.vertices * shape.scale, shape.triangles, process=False)
    raise TypeError(f"A collision shape is a {type(shape).__name__}, of which no points can be drawn.")
