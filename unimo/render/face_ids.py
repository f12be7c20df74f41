"""Which triangle stands at the centre of each pixel: a pass without colour or anti-aliasing, for exact ground truth.

Points are in the OpenCV camera frame (x right, y down, z forward, metres). It draws into a picture of its own, on the
OpenGL context that is current, and leaves that context as it found it, so that it can go between colour pictures.
"""

from __future__ import annotations

import ctypes

import numpy as np
from OpenGL import GL
from OpenGL.GL import shaders

NEAR, FAR = 0.05, 100.0

_VERTEX_SHADER = """
#version 330 core
layout(location = 0) in vec3 position;
uniform mat4 projection;
void main() { gl_Position = projection * vec4(position, 1.0); }
"""
_FRAGMENT_SHADER = """
#version 330 core
out uint face;
void main() { face = uint(gl_PrimitiveID) + 1u; }
"""


class FaceIdPass:
    """Draws triangle numbers; make it while an OpenGL context is current and use it with the same one."""

    def __init__(self) -> None:
        self._array = GL.glGenVertexArrays(1)
        GL.glBindVertexArray(self._array)  # a core profile does not validate a program without one
        stages = ((_VERTEX_SHADER, GL.GL_VERTEX_SHADER), (_FRAGMENT_SHADER, GL.GL_FRAGMENT_SHADER))
        self._program = shaders.compileProgram(*(shaders.compileShader(text, kind) for text, kind in stages))
        self._projection = GL.glGetUniformLocation(self._program, "projection")
        self._points, self._indices = GL.glGenBuffers(2)
        GL.glBindBuffer(GL.GL_ARRAY_BUFFER, self._points)
        GL.glEnableVertexAttribArray(0)
        GL.glVertexAttribPointer(0, 3, GL.GL_FLOAT, GL.GL_FALSE, 12, ctypes.c_void_p(0))
        GL.glBindBuffer(GL.GL_ELEMENT_ARRAY_BUFFER, self._indices)
        GL.glBindVertexArray(0)
        GL.glBindBuffer(GL.GL_ARRAY_BUFFER, 0)
        self._picture, (self._colour, self._depth) = GL.glGenFramebuffers(1), GL.glGenRenderbuffers(2)
        self._size = (0, 0)
        self._faces: np.ndarray | None = None

    def draw(
        self, vertices: np.ndarray, faces: np.ndarray, intrinsics: np.ndarray, height: int, width: int
    ) -> np.ndarray:
        """See `unimo.render.renderer.MeshRenderer.face_ids`."""
        GL.glBindVertexArray(self._array)
        GL.glBindFramebuffer(GL.GL_FRAMEBUFFER, self._picture)
        self._resize(height, width)
        self._upload(vertices, faces)
        GL.glViewport(0, 0, width, height)
        GL.glDisable(GL.GL_MULTISAMPLE)
        GL.glDisable(GL.GL_BLEND)
        GL.glEnable(GL.GL_DEPTH_TEST)
        GL.glDepthMask(GL.GL_TRUE)
        GL.glDepthFunc(GL.GL_LESS)
        GL.glPolygonMode(GL.GL_FRONT_AND_BACK, GL.GL_FILL)
        GL.glEnable(GL.GL_CULL_FACE)
        GL.glCullFace(GL.GL_BACK)
        # the picture stands on its head, so that reading it gives its top row first; that mirrors the triangles
        GL.glFrontFace(GL.GL_CW)
        GL.glClearBufferuiv(GL.GL_COLOR, 0, np.zeros(4, np.uint32))
        GL.glClearBufferfv(GL.GL_DEPTH, 0, np.ones(1, np.float32))
        GL.glUseProgram(self._program)
        GL.glUniformMatrix4fv(self._projection, 1, GL.GL_TRUE, _projection(intrinsics, height, width))
        GL.glDrawElements(GL.GL_TRIANGLES, faces.size, GL.GL_UNSIGNED_INT, ctypes.c_void_p(0))
        found = np.empty((height, width), np.uint32)
        GL.glPixelStorei(GL.GL_PACK_ALIGNMENT, 4)
        GL.glReadPixels(0, 0, width, height, GL.GL_RED_INTEGER, GL.GL_UNSIGNED_INT, found)
        GL.glFrontFace(GL.GL_CCW)
        GL.glUseProgram(0)
        GL.glBindFramebuffer(GL.GL_FRAMEBUFFER, 0)
        GL.glBindVertexArray(0)
        return found.view(np.int32) - 1

    def _resize(self, height: int, width: int) -> None:
        if self._size == (height, width):
            return
        for buffer, kind, place in (
            (self._colour, GL.GL_R32UI, GL.GL_COLOR_ATTACHMENT0),
            (self._depth, GL.GL_DEPTH_COMPONENT24, GL.GL_DEPTH_ATTACHMENT),
        ):
            GL.glBindRenderbuffer(GL.GL_RENDERBUFFER, buffer)
            GL.glRenderbufferStorage(GL.GL_RENDERBUFFER, kind, width, height)
            GL.glFramebufferRenderbuffer(GL.GL_FRAMEBUFFER, place, GL.GL_RENDERBUFFER, buffer)
        GL.glBindRenderbuffer(GL.GL_RENDERBUFFER, 0)
        self._size = (height, width)

    def _upload(self, vertices: np.ndarray, faces: np.ndarray) -> None:
        points = np.ascontiguousarray(vertices, np.float32)
        GL.glBindBuffer(GL.GL_ARRAY_BUFFER, self._points)
        GL.glBufferData(GL.GL_ARRAY_BUFFER, points.nbytes, points, GL.GL_STREAM_DRAW)
        GL.glBindBuffer(GL.GL_ARRAY_BUFFER, 0)
        if self._faces is not faces:
            indices = np.ascontiguousarray(faces, np.uint32)
            GL.glBufferData(GL.GL_ELEMENT_ARRAY_BUFFER, indices.nbytes, indices, GL.GL_STATIC_DRAW)
            self._faces = faces


def _projection(intrinsics: np.ndarray, height: int, width: int) -> np.ndarray:
    """(4, 4) float32: camera points to clip coordinates, picture y kept downwards."""
    (fx, _, cx), (_, fy, cy) = intrinsics[0], intrinsics[1]
    return np.array([
        [2 * fx / width, 0, 2 * cx / width - 1, 0],
        [0, 2 * fy / height, 2 * cy / height - 1, 0],
        [0, 0, (FAR + NEAR) / (FAR - NEAR), -2 * FAR * NEAR / (FAR - NEAR)],
        [0, 0, 1, 0],
    ], np.float32)  # fmt: skip
