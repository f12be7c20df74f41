"""The program that MediaPipe's own Python runs: raw RGB frames on standard input, landmarks of people into an npz.

Needs mediapipe 0.10.21 and numpy < 2, and nothing of unimo: it is started by path (see `mediapipe_process.py`).
Frames are uint8 (H, W, 3), one after another, until the input ends. Each is padded to a square, because MediaPipe turns
regions rightly in squares only. The detector looks for everybody every few frames; in between people are followed by
their landmarks, each by its own region. The npz has one row for every person in every frame:

frames (N,) int64, people (N,) int64, world (N, 33, 3) metres about the hips (x right, y down, z away from the camera),
image (N, 33, 2) pixels, visibility (N, 33) 0..1, and count () int64, the number of frames read.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

DETECT = """
input_stream: "image"
output_stream: "detections"
node { calculator: "PoseDetectionCpu" input_stream: "IMAGE:image" output_stream: "DETECTIONS:detections" }
"""
LANDMARKS = """
input_stream: "image"
input_stream: "region"
output_stream: "landmarks"
output_stream: "world"
output_stream: "circle"
node {
  calculator: "PoseLandmarkByRoiCpu"
  input_stream: "IMAGE:image"
  input_stream: "ROI:region"
  output_stream: "LANDMARKS:landmarks"
  output_stream: "WORLD_LANDMARKS:world"
  output_stream: "AUXILIARY_LANDMARKS:circle"
}
"""
# a region is the circle about the body, widened as MediaPipe does
WIDER = 1.25
# detections or poses that overlap more than this are of one person
SAME = 0.4
# frames for which a person who is not found keeps the number
PATIENCE = 5


class Graph:
    """A MediaPipe graph that is fed one picture at a time."""

    def __init__(self, text: str, outputs: tuple[str, ...]) -> None:
        from google.protobuf import text_format
        from mediapipe.framework import calculator_pb2
        from mediapipe.python._framework_bindings import calculator_graph

        config = text_format.Parse(text, calculator_pb2.CalculatorGraphConfig())
        self._graph = calculator_graph.CalculatorGraph(graph_config=config)
        self._found: dict[str, Any] = {}
        self._time = 0
        for name in outputs:
            self._graph.observe_output_stream(name, self._found.__setitem__, False)
        self._graph.start_run({})

    def __call__(self, **packets: Any) -> dict[str, Any]:
        """The packets that come out, by stream; a stream without one is left out."""
        self._found.clear()
        self._time += 1
        for name, packet in packets.items():
            self._graph.add_packet_to_input_stream(name, packet.at(self._time))
        self._graph.wait_until_idle()
        return dict(self._found)


class PoseReader:
    """Landmarks of people in square pictures; circles are (4,) centre and a point of the rim, 0..1 of the side."""

    def __init__(self) -> None:
        import mediapipe
        from mediapipe.python._framework_bindings import resource_util

        # where the graphs look for their models
        resource_util.set_resource_dir(str(Path(mediapipe.__path__[0]).parent))
        self._detect = Graph(DETECT, ("detections",))
        self._landmarks = Graph(LANDMARKS, ("landmarks", "world", "circle"))

    @staticmethod
    def _picture(square: np.ndarray) -> Any:
        from mediapipe.python import packet_creator
        from mediapipe.python._framework_bindings import image_frame

        return packet_creator.create_image_frame(image_format=image_frame.ImageFormat.SRGB, data=square)

    def detect(self, square: np.ndarray) -> list[np.ndarray]:
        """The circles of all people that the detector finds, the surest first."""
        from mediapipe.python import packet_getter

        found = self._detect(image=self._picture(square))
        if "detections" not in found:
            return []
        detections = sorted(packet_getter.get_proto_list(found["detections"]), key=lambda d: -d.score[0])
        points = [d.location_data.relative_keypoints for d in detections]
        return [np.array([p[0].x, p[0].y, p[1].x, p[1].y]) for p in points]

    def read(self, square: np.ndarray, circle: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Landmarks (33, 3) x, y of 0..1 and visibility, world (33, 3) and the next circle; None: nobody is there."""
        from mediapipe.framework.formats import rect_pb2
        from mediapipe.python import packet_creator, packet_getter

        x, y = circle[2:] - circle[:2]
        side = 2 * WIDER * float(np.hypot(x, y))
        turn = float(np.pi / 2 - np.arctan2(-y, x))
        region = rect_pb2.NormalizedRect(
            x_center=float(circle[0]), y_center=float(circle[1]), width=side, height=side, rotation=turn
        )
        found = self._landmarks(image=self._picture(square), region=packet_creator.create_proto(region))
        if not {"landmarks", "world", "circle"} <= set(found):
            return None
        points, world, rim = (packet_getter.get_proto(found[n]).landmark for n in ("landmarks", "world", "circle"))
        return (
            np.array([[p.x, p.y, p.visibility] for p in points]),
            np.array([[p.x, p.y, p.z] for p in world]),
            np.array([rim[0].x, rim[0].y, rim[1].x, rim[1].y]),
        )


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Shared share, 0..1, of the boxes around two sets of points (n, 2)."""
    (a0, a1), (b0, b1) = ((points.min(0), points.max(0)) for points in (first, second))
    shared = np.clip(np.minimum(a1, b1) - np.maximum(a0, b0), 0, None).prod()
    return float(shared / max((a1 - a0).prod() + (b1 - b0).prod() - shared, 1e-9))


class Tracker:
    """Follows people from frame to frame and gives each a number."""

    def __init__(self, reader: Any, detect_every: int, most: int) -> None:
        self.reader, self.detect_every, self.most = reader, detect_every, most
        self._people: dict[int, tuple[np.ndarray, np.ndarray, int]] = {}  # circle, landmarks, frame last seen
        self._numbers = 0

    def __call__(self, frame: int, square: np.ndarray) -> list[tuple[int, np.ndarray, np.ndarray]]:
        """(number, landmarks (33, 3), world (33, 3)) of everybody in a frame."""
        self._people = {n: p for n, p in self._people.items() if frame - p[2] <= PATIENCE}
        seen: list[tuple[int, np.ndarray, np.ndarray]] = []
        for number, (circle, _, _) in sorted(self._people.items()):
            self._look(frame, square, circle, seen, number)
        if frame % self.detect_every == 0 or not seen:
            for circle in self.reader.detect(square):
                if len(seen) < self.most:
                    self._look(frame, square, circle, seen, None)
        return sorted(seen, key=lambda row: row[0])

    def _look(self, frame: int, square: np.ndarray, circle: np.ndarray, seen: list, number: int | None) -> None:
        """Reads one region; what is a person that is seen already is left out."""
        found = self.reader.read(square, circle)
        if found is None:
            return
        landmarks, world, circle = found
        if any(overlap(landmarks[:, :2], other[:, :2]) > SAME for _, other, _ in seen):
            return
        if number is None:
            number = self._lost_one(landmarks, {n for n, _, _ in seen})
        self._people[number] = (circle, landmarks, frame)
        seen.append((number, landmarks, world))

    def _lost_one(self, landmarks: np.ndarray, taken: set[int]) -> int:
        """The number of whoever was lost here a moment ago, else a new one."""
        for number, (_, last, _) in self._people.items():
            if number not in taken and overlap(landmarks[:, :2], last[:, :2]) > SAME:
                return number
        self._numbers += 1
        return self._numbers - 1


def squared(frame: np.ndarray) -> np.ndarray:
    """(H, W, 3) padded with black at the right or below: (S, S, 3), contiguous."""
    side = max(frame.shape[:2])
    square = np.zeros((side, side, 3), np.uint8)
    square[: frame.shape[0], : frame.shape[1]] = frame
    return square


def main() -> int:
    """Reads frames until the input ends and writes the npz; 0 when all went well."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("height", "width", "detect-every", "most-people"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    shape = arguments.height, arguments.width, 3
    tracker = Tracker(PoseReader(), arguments.detect_every, arguments.most_people)
    rows: list[tuple[int, int, np.ndarray, np.ndarray]] = []
    count, size = 0, int(np.prod(shape))
    while data := sys.stdin.buffer.read(size):
        if len(data) != size:
            print(f"the input ends within frame {count}", file=sys.stderr)
            return 1
        square = squared(np.frombuffer(data, np.uint8).reshape(shape))
        rows += [(count, *person) for person in tracker(count, square)]
        count += 1
    landmarks = np.array([row[2] for row in rows], np.float32).reshape(-1, 33, 3)
    np.savez(
        arguments.output,
        frames=np.array([row[0] for row in rows], np.int64),
        people=np.array([row[1] for row in rows], np.int64),
        world=np.array([row[3] for row in rows], np.float32).reshape(-1, 33, 3),
        # MediaPipe counts from the middle of the first pixel, UniMo from its corner
        image=landmarks[..., :2] * max(shape[:2]) + 0.5,
        visibility=landmarks[..., 2],
        count=np.int64(count),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
