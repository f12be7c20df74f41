"""An interactive view of a motion in the browser, through viser (an optional extra): a `Motion` in, a local page out.

The page shows the body over a floor grid in world axes (y up, metres), with a time slider and a play switch; it works
over an SSH tunnel and needs no display. Nothing is written.
"""

from __future__ import annotations

import itertools
import time
from typing import Any

import numpy as np
import torch

from unimo.body import BodyModel, load_body
from unimo.errors import MissingAssetError
from unimo.motion.frames import camera_to_world
from unimo.motion.motion import Motion
from unimo.render.overlay import BODY_COLOR

TARGET_FACES = 3000


class MotionViewer:
    """Serves one motion on a page until it is closed.

    Raises:
        MissingAssetError: viser is not installed.
    """

    def __init__(
        self, motion: Motion, body: BodyModel | None = None, host: str = "127.0.0.1", port: int = 8080
    ) -> None:
        """Starts the server.

        Args:
            motion: camera or world axes; without `cam2world` the camera is taken as level.
            body: the body of the motion; None loads the one it names.
            host: interface to serve on; "0.0.0.0" lets other machines in.
            port: TCP port.
        """
        try:
            import viser  # type: ignore[import-not-found]
        except ImportError as error:
            raise MissingAssetError("the interactive viewer needs viser", fix="pip install 'viser>=1.0'") from error
        body = body or load_body(motion.body)  # type: ignore[arg-type]
        self._motion = camera_to_world(motion, body)
        self._body = body
        index, faces = body.low_poly(TARGET_FACES)
        self._index = torch.from_numpy(index)
        self._server: Any = viser.ViserServer(host=host, port=port, verbose=False)
        self.url = f"http://{host}:{self._server.get_port()}"
        scene, gui = self._server.scene, self._server.gui
        scene.set_up_direction("+y")
        first = self.vertices(0)
        middle = first.mean(axis=0)
        x, _, z = (float(value) for value in middle)
        scene.add_grid("/floor", width=20.0, height=20.0, plane="xz", position=(x, 0.0, z))
        color = tuple(int(255 * channel) for channel in BODY_COLOR)
        self._mesh = scene.add_mesh_simple("/body", vertices=first, faces=faces.astype(np.uint32), color=color)
        self._server.initial_camera.position = (x, 1.6, z + 4.0)
        self._server.initial_camera.look_at = tuple(float(value) for value in middle)
        self._slider = gui.add_slider("frame", min=0, max=max(len(motion) - 1, 1), step=1, initial_value=0)
        self._play = gui.add_checkbox("play", initial_value=True)
        self._slider.on_update(lambda _: self.show(int(self._slider.value)))

    def vertices(self, frame: int) -> np.ndarray:
        """(V, 3) float32 world vertices of one frame."""
        part = self._motion[frame : frame + 1]
        with torch.no_grad():
            parameters = (torch.from_numpy(values) for values in (part.rotations(), part.betas, part.transl))
            return self._body.vertices(*parameters, index=self._index)[0].cpu().numpy()

    def show(self, frame: int) -> None:
        """Puts the body into one frame."""
        self._mesh.vertices = self.vertices(min(frame, len(self._motion) - 1))

    def play(self, steps: int | None = None) -> None:
        """Plays while the page's switch is on, until Ctrl-C or for a number of steps of one frame time each."""
        for _ in itertools.count() if steps is None else range(steps):
            if self._play.value:
                self._slider.value = (int(self._slider.value) + 1) % len(self._motion)
            time.sleep(1.0 / self._motion.fps)

    def close(self) -> None:
        """Stops the server."""
        self._server.stop()
