"""Pictures of a world: MuJoCo's renderer where there is OpenGL, else capsules, boxes and discs in perspective."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from mail_envs.drawing import Drawing, RenderingError
from mail_envs.games.hands.tasks import CATCH, DOOR, PUSH, Task
from mail_envs.mujoco_support import choose_opengl, rendering_errors

PIXELS = 480
GHOST = np.array([0.2, 0.75, 0.35, 0.35], np.float32)  # of goals
OPENING = 0.41  # tan(45 degrees / 2): half the height that is seen at distance 1
LIGHT = np.array([0.3, -0.4, 0.87])


class Screen:
    """MuJoCo's off-screen renderer. Its own class wants to know the OpenGL before MuJoCo is imported.

    Args:
        opengl: "egl", "osmesa" or "glfw".
    """

    def __init__(self, opengl: str, model: Any):
        import mujoco

        self._opengl = importlib.import_module(f"mujoco.{opengl}").GLContext(PIXELS, PIXELS)
        self._opengl.make_current()
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)

    def render(self, scene: Any) -> np.ndarray:
        import mujoco

        self._opengl.make_current()
        frame, image = mujoco.MjrRect(0, 0, PIXELS, PIXELS), np.zeros((PIXELS, PIXELS, 3), np.uint8)
        mujoco.mjr_render(frame, scene, self._context)
        mujoco.mjr_readPixels(image, None, frame, self._context)
        return np.ascontiguousarray(image[::-1])

    def close(self) -> None:
        self._opengl.make_current()
        self._context.free()
        self._opengl.free()


class Picture:
    """Draws the worlds of one model."""

    def __init__(self, task: Task, model: Any):
        self.task, self.model = task, model
        self.lookat, self.distance, self.azimuth, self.elevation = view_of(task)
        self._screen: Screen | None = None

    def draw(self, data: Any, goals: np.ndarray) -> np.ndarray:
        """An image uint8 (480, 480, 3) of MuJoCo's `data`. `goals`: (2, 7)."""
        try:
            name = choose_opengl()
        except RenderingError:
            return self.draw_shapes(data, goals)
        with rendering_errors():
            if self._screen is None:
                self._screen = Screen(name, self.model)
            return self._screen.render(self.scene_of(data, goals))

    def scene_of(self, data: Any, goals: np.ndarray) -> Any:
        """MuJoCo's scene: the world, and translucent objects at their goals."""
        import mujoco

        camera, options = mujoco.MjvCamera(), mujoco.MjvOption()
        camera.lookat[:], camera.distance = self.lookat, self.distance
        camera.azimuth, camera.elevation = self.azimuth, self.elevation
        scene = mujoco.MjvScene(self.model, maxgeom=400)
        everything = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(self.model, data, options, None, camera, everything, scene)
        for k in range(len(self.task.goals)):
            shape, turn = self.model.geom(f"object_{k}"), np.zeros(9)
            mujoco.mju_quat2Mat(turn, np.roll(goals[k, 3:], 1).astype(np.float64))
            place, ghost = goals[k, :3].astype(np.float64), scene.geoms[scene.ngeom]
            mujoco.mjv_initGeom(ghost, int(shape.type[0]), shape.size, place, turn, GHOST)
            scene.ngeom += 1
        return scene

    def close(self) -> None:
        if self._screen is not None:
            self._screen.close()
            self._screen = None

    # -- without OpenGL ---------------------------------------------------------------------------

    def draw_shapes(self, data: Any, goals: np.ndarray) -> np.ndarray:
        """The collision shapes in perspective, the farthest first."""
        drawing = Drawing((PIXELS, PIXELS))
        drawing.begin((-OPENING, OPENING, -OPENING, OPENING), margin=0.0)
        eye, axes = self._camera()
        solid = np.flatnonzero(self.model.geom_contype | self.model.geom_conaffinity).tolist()
        order = [((data.geom_xpos[g] - eye) @ axes[:, 2], g) for g in solid]
        for k in range(len(self.task.goals)):
            seen = (goals[k, :3] - eye) @ axes
            drawing.circle(seen[:2] / seen[2], 0.03 / seen[2], "green", alpha=0.35)
        for _, g in sorted(order, reverse=True):
            self._draw_geom(drawing, data, g, eye, axes)
        return drawing.pixels()

    def _camera(self) -> tuple[np.ndarray, np.ndarray]:
        """The eye (3,), and the axes right, up, ahead as columns (3, 3)."""
        a, h = np.deg2rad(self.azimuth), np.deg2rad(self.elevation)
        ahead = np.array([np.cos(h) * np.cos(a), np.cos(h) * np.sin(a), np.sin(h)])
        right = np.cross(ahead, [0, 0, 1])
        right /= np.linalg.norm(right)
        axes = np.stack([right, np.cross(right, ahead), ahead], 1)
        return np.asarray(self.lookat) - self.distance * ahead, axes

    def _draw_geom(
        self, drawing: Drawing, data: Any, g: int, eye: np.ndarray, axes: np.ndarray
    ) -> None:
        import mujoco

        kinds, model = mujoco.mjtGeom, self.model
        kind, size = mujoco.mjtGeom(int(model.geom_type[g])), model.geom_size[g]
        place, turn = data.geom_xpos[g], data.geom_xmat[g].reshape(3, 3)
        color = model.mat_rgba[model.geom_matid[g], :3]

        def seen(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            """Positions in the picture (..., 2) and depths (...)."""
            own = (points - eye) @ axes
            depth = np.maximum(own[..., 2], 0.05)
            return own[..., :2] / depth[..., None], depth

        if kind == kinds.mjGEOM_CAPSULE:
            ends, depth = seen(place + np.array([[-1], [1]]) * size[1] * turn[:, 2])
            width = 2 * size[0] / depth.mean() * PIXELS / (2 * OPENING)
            drawing.line(ends[0], ends[1], shade(color, 0.9), float(width))
        elif kind in (kinds.mjGEOM_BOX, kinds.mjGEOM_MESH):
            half = size if kind == kinds.mjGEOM_BOX else model.geom_aabb[g, 3:]
            middle = place if kind == kinds.mjGEOM_BOX else place + turn @ model.geom_aabb[g, :3]
            for axis in range(3):
                for side in (-1.0, 1.0):
                    normal = side * turn[:, axis]
                    if (middle + half[axis] * normal - eye) @ normal < 0:  # it faces the eye
                        corners = face(middle, half, turn, axis, side)
                        light = 0.65 + 0.35 * max(float(normal @ LIGHT), 0.0)
                        drawing.polygon(list(seen(corners)[0]), shade(color, light))
        elif kind != kinds.mjGEOM_PLANE:
            spot, depth = seen(place[None])
            drawing.circle(spot[0], float(size.max() / depth[0]), shade(color, 1.0))


def face(
    middle: np.ndarray, half: np.ndarray, turn: np.ndarray, axis: int, side: float
) -> np.ndarray:
    """The corners (4, 3) of a box's face, in order around it."""
    u, v = (axis + 1) % 3, (axis + 2) % 3
    signs = np.zeros((4, 3))
    signs[:, axis], signs[:, u], signs[:, v] = side, (1, -1, -1, 1), (1, 1, -1, -1)
    return middle + (signs * half) @ turn.T


def shade(rgb: np.ndarray, light: float) -> tuple[int, int, int]:
    r, g, b = (255 * np.clip(rgb * light, 0, 1)).astype(int).tolist()
    return r, g, b


def view_of(task: Task) -> tuple[tuple[float, float, float], float, float, float]:
    """The point that the camera looks at, its distance, azimuth and elevation in degrees, as MuJoCo defines them."""
    if task.kind == DOOR:
        return (0.3, 0.0, 0.62), 2.1, 150.0, -22.0
    if task.kind == CATCH:
        middle = np.mean([*task.hands, *task.objects, *task.goals], axis=0)
        return (float(middle[0]), float(middle[1]), float(middle[2])), 1.7, 160.0, -20.0
    if task.kind == PUSH:
        return (0.15, 0.0, 0.65), 1.5, 150.0, -28.0
    middle = np.mean(task.hands, axis=0)
    return (float(middle[0]), float(middle[1]), 0.6), 1.7, 160.0, -25.0
