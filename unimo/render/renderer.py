"""Off-screen drawing of one mesh with pyrender over EGL: lit vertex colours in, RGBA and depth, or triangles, out.

Points are in the OpenCV camera frame (x right, y down, z forward, metres); pixels have their centre at index + 0.5.
One vertex buffer is kept and rewritten every frame, and lighting is done per vertex by `unimo.render.shading`,
because a new pyrender mesh a frame and its PBR shader are about five times slower on a software driver.
There is one renderer a process: use `shared_renderer()`, or a `MeshRenderer` as a context manager.
"""

from __future__ import annotations

import atexit
import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from unimo.errors import MissingAssetError

OPENCV_TO_OPENGL = np.array([1.0, -1.0, -1.0], dtype=np.float32)


@dataclass(frozen=True)
class RenderedFrame:
    """One drawn frame.

    Attributes:
        rgba: (H, W, 4) uint8; colour is premultiplied by alpha, alpha is the anti-aliased coverage.
        depth: (H, W) float32, metres along z; 0 where nothing was drawn.
    """

    rgba: np.ndarray
    depth: np.ndarray

    @property
    def mask(self) -> np.ndarray:
        """(H, W) bool: more than half of the pixel is covered."""
        return self.rgba[..., 3] > 127


def composite(rgba: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Premultiplied RGBA (..., H, W, 4) uint8 over a background (..., H, W, 3) uint8 → (..., H, W, 3) uint8."""
    color = rgba[..., :3].astype(np.uint16)
    keep = 255 - rgba[..., 3:].astype(np.uint16)
    return np.minimum(color + (background * keep + 127) // 255, 255).astype(np.uint8)


def _import_pyrender() -> Any:
    """Imports pyrender late: its import starts OpenGL, which must not happen when `unimo` is imported."""
    os.environ.setdefault("PYOPENGL_PLATFORM", "egl")
    np.infty = np.inf  # type: ignore[attr-defined]  # pyrender 0.1.45 still uses the name that NumPy 2 removed
    import pyrender

    return pyrender


class MeshRenderer:
    """Draws a mesh that keeps its faces and changes its vertices from frame to frame.

    Raises:
        MissingAssetError: no EGL driver could be started on this machine.
    """

    def __init__(self) -> None:
        try:
            self._pyrender = _import_pyrender()
            self._offscreen: Any = self._pyrender.OffscreenRenderer(64, 64)
        except Exception as error:  # OpenGL loaders raise AttributeError, ImportError, AssertionError, GLError ...
            raise MissingAssetError(
                f"off-screen rendering could not start ({type(error).__name__}: {error})",
                where=f"EGL through pyrender, PYOPENGL_PLATFORM={os.environ.get('PYOPENGL_PLATFORM')}",
                fix="apt-get install libegl1 libgl1-mesa-dri",
            ) from error
        self._faces: np.ndarray | None = None
        self._vertex_count = 0
        self._scene: Any = None
        self._primitive: Any = None
        self._camera: Any = None
        self._face_ids: Any = None

    @property
    def driver(self) -> str:
        """Name of the graphics driver (pixels are bit-identical only on one driver)."""
        from OpenGL import GL

        names = (GL.glGetString(GL.GL_RENDERER) or b"", GL.glGetString(GL.GL_VERSION) or b"")
        return " / ".join(name.decode() for name in names)

    def __enter__(self) -> MeshRenderer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Frees the OpenGL context; the renderer cannot be used afterwards."""
        if self._offscreen is not None:
            self._offscreen.delete()
            self._offscreen = None

    def render(
        self, vertices: np.ndarray, faces: np.ndarray, intrinsics: np.ndarray, height: int, width: int,
        colors: np.ndarray,
    ) -> RenderedFrame:
        """Draws one frame.

        Args:
            vertices: (V, 3) float, metres, OpenCV camera frame.
            faces: (F, 3) int, counter-clockwise from outside (backs are not drawn); pass the same array again and
                again to keep the mesh on the device.
            intrinsics: (3, 3) pinhole matrix in pixels of this frame.
            height: H in pixels.
            width: W in pixels.
            colors: (V, 3) float in 0..1, already lit.

        Returns:
            The frame; see `RenderedFrame`.

        Raises:
            ValueError: shapes do not fit.
        """
        if vertices.ndim != 2 or vertices.shape[1] != 3 or colors.shape != vertices.shape:
            raise ValueError(f"vertices and colors must both be (V, 3), got {vertices.shape} and {colors.shape}")
        if self._faces is not faces or self._vertex_count != len(vertices):
            self._build(faces, len(vertices))
        data = np.ones((len(vertices), 7), dtype=np.float32)
        data[:, :3] = vertices * OPENCV_TO_OPENGL
        data[:, 3:6] = colors
        if self._primitive._buffers:
            self._rewrite_buffer(data)
        else:  # first frame of this mesh: pyrender uploads the arrays itself
            self._primitive.positions, self._primitive.color_0 = data[:, :3], data[:, 3:]
        camera = self._camera
        camera.fx, camera.fy = float(intrinsics[0, 0]), float(intrinsics[1, 1])
        camera.cx, camera.cy = float(intrinsics[0, 2]), float(intrinsics[1, 2])
        self._offscreen.viewport_width, self._offscreen.viewport_height = int(width), int(height)
        flags = self._pyrender.RenderFlags.RGBA | self._pyrender.RenderFlags.FLAT
        rgba, depth = self._offscreen.render(self._scene, flags=flags)
        return RenderedFrame(rgba, depth)

    def face_ids(
        self, vertices: np.ndarray, faces: np.ndarray, intrinsics: np.ndarray, height: int, width: int
    ) -> np.ndarray:
        """Finds which triangle stands at the centre of each pixel.

        Args:
            vertices, faces, intrinsics, height, width: see `render`.

        Returns:
            (H, W) int32 index into `faces`, -1 where there is none.
        """
        from unimo.render.face_ids import FaceIdPass  # it imports OpenGL

        self._offscreen._platform.make_current()
        if self._face_ids is None:
            self._face_ids = FaceIdPass()
        return self._face_ids.draw(vertices, faces, intrinsics, height, width)

    def _rewrite_buffer(self, data: np.ndarray) -> None:
        from OpenGL import GL

        self._offscreen._platform.make_current()
        GL.glBindBuffer(GL.GL_ARRAY_BUFFER, self._primitive._buffers[0])
        GL.glBufferSubData(GL.GL_ARRAY_BUFFER, 0, data.nbytes, data)
        GL.glBindBuffer(GL.GL_ARRAY_BUFFER, 0)

    def _build(self, faces: np.ndarray, vertex_count: int) -> None:
        """Makes a scene with an identity camera and one empty mesh of the right size."""
        pyrender = self._pyrender
        self._primitive = pyrender.Primitive(
            positions=np.zeros((vertex_count, 3), np.float32),
            color_0=np.ones((vertex_count, 4), np.float32),
            indices=np.ascontiguousarray(faces, dtype=np.uint32),
            material=pyrender.MetallicRoughnessMaterial(alphaMode="OPAQUE"),
        )
        self._camera = pyrender.IntrinsicsCamera(1.0, 1.0, 0.5, 0.5, znear=0.05, zfar=100.0)
        self._scene = pyrender.Scene(bg_color=[0.0, 0.0, 0.0, 0.0])
        self._scene.add(pyrender.Mesh([self._primitive]))
        self._scene.add(self._camera)
        self._faces, self._vertex_count = faces, vertex_count


_shared: MeshRenderer | None = None


def shared_renderer() -> MeshRenderer:
    """The one renderer of this process, made on first use and closed at exit (or by `close_shared_renderer`)."""
    global _shared
    if _shared is None:
        _shared = MeshRenderer()
        atexit.register(close_shared_renderer)
    return _shared


def close_shared_renderer() -> None:
    """Closes the shared renderer when there is one; a later `shared_renderer()` starts a new one."""
    global _shared
    if _shared is not None:
        _shared.close()
        _shared = None
