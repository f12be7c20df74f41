"""What each number of a report means, in the report itself: joints, alignment, unit's meaning.

In: a report's keys. Out: a sentence for every measure whose convention must be known before it is compared. And the
names under which errors on real data sets go, whose bodies are not the field's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from unimo.evaluation.summary import UNITS, Numbers, without_unit

_JOINTS = "22 SMPL-X body joints of the bundle's body"
CONVENTIONS = {
    "mpjpe_mm": f"{_JOINTS}; joint 0 (pelvis) at the origin in every frame",
    "mpjpe_hips_mm": f"{_JOINTS}; the middle of the hips (joints 1, 2) at the origin in every frame",
    "pa_mpjpe_mm": f"{_JOINTS}; best similarity of each frame, no mirror",
    "pve_mm": "all vertices of the bundle's body, hands flat; joint 0 at the origin",
    "accel_mm_per_frame2": f"{_JOINTS}; second difference of pelvis-aligned positions, per frame of `fps`",
    "accel_m_per_s2": "the same times fps² / 1000, the true rate of the clips",
    "root_orientation_deg": "angle between root rotations in the camera",
    "root_translation_m": "distance of the pelvises in the camera",
    "root_drift_mm": "distance of the pelvises at the last frame, the first frame's offset taken off",
    "w_mpjpe_mm": f"{_JOINTS} in the world by the true camera; similarity of the first two frames of the clip",
    "wa_mpjpe_mm": f"{_JOINTS} in the world by the true camera; similarity of the whole clip",
    "rte_percent": "joint 0 in the world by the true camera; rigid; share of the path; paths of at least 0.25 m only",
    "jitter_10_m_per_s3": f"{_JOINTS} in the world by the true camera; third difference times fps³ / 10; `data.` is "
    "the truth's own",
    "foot_sliding_mm": "ankles and balls of the feet (not SMPL's four vertices), world by the true camera; step where "
    "the true step is below 10 mm a frame",
    "entropy_nats": "mean over motion tokens, entropy of softmax(logits / temperature), before top-p",
    "mpjpe_to_true_mm": f"generated against true motion; {_JOINTS}, joint 0; other futures than the true one are right "
    "too, so this is no error",
    "consistency.mpjpe_mm": f"motion captured from the generated video against the generated motion; {_JOINTS}, joint "
    "0; by_joint_mm and by_time_mm of a generate report are of this",
    "strict.fid_k": "AIST++ kinetic features as published (mistakes included, frame time 1/60), 24 joints, flat hands; "
    "z-scores of the true clips, features that never vary in them (`strict.constant_k`) left out; the first frame's "
    "camera held still for both sides; biased by few clips",
    "strict.fid_g": "AIST++ geometric features as published (frame time 1/120); else as kinetic",
    "fixed.fid_k": "the same features repaired, in true units of the clips' rate",
    "fixed.fid_g": "the same features repaired, in true units of the clips' rate",
    "strict.diversity_k": "mean distance of all pairs of the same z-scored features; above the true clips' is no merit",
    "strict.diversity_g": "mean distance of all pairs of the same z-scored features; above the true clips' is no merit",
    "fixed.diversity_k": "as strict.diversity_k, of the repaired features",
    "fixed.diversity_g": "as strict.diversity_g, of the repaired features",
    "joint_speed_m_per_s": f"{_JOINTS} in the camera, mean over joints and frames; `data.` is that of the true clips",
    "joint_color_difference_8bit": "colours at the joints, in all frames, against those at the reference's joints; "
    "`data.` of true clips, `other_person.` against another clip's reference",
    "first_frame_psnr_db": "first generated frame against the reference; it cannot be better than `tokenizer.`",
    "psnr_to_true_db": "generated against true video, all frames; `still_picture.` repeats the reference",
    "ssim_to_true": "generated against true video, all frames; `still_picture.` repeats the reference",
    "temporal_flickering": "VBench's: a still picture has 1",
    "first_frame_pose": "baseline: the true pose, heading and place of frame 0 held before the camera (in the world it "
    "moves with a camera that does); frame 0 counts, where it is right",
    "previous_frame": "baseline: the truth one frame late",
    "constant_pose": "baseline: one pose for all frames of all clips, the best of the training clips for each error",
}
_POSE = frozenset(
    without_unit(key)
    for key in (
        "mpjpe_mm", "mpjpe_hips_mm", "pa_mpjpe_mm", "pve_mm", "accel_mm_per_frame2", "accel_m_per_s2",
        "w_mpjpe_mm", "wa_mpjpe_mm", "rte_percent", "jitter_10_m_per_s3", "foot_sliding_mm",
    )
)  # fmt: skip


def conventions_of(keys: Iterable[str]) -> dict[str, str]:
    """The sentences that belong to a report's keys."""
    keys = list(keys)
    words = {word for key in keys for word in key.split(".")}
    return {name: text for name, text in CONVENTIONS.items() if name in words or name in keys}


def under_own_names(numbers: Numbers, body: str) -> Numbers:
    """A report on a real data set with its pose errors under names that nobody takes for the field's.

    `mpjpe_mm` becomes `open22.mpjpe_mm`: 22 joints of the open body at its mean shape, which is neither the person's
    body nor the joints of any published table.
    """
    renamed: dict[str, Any] = {}
    for key, value in numbers.items():
        *before, last = key.split(".")
        quotient = any(word.startswith("ratio_to_") for word in before)
        if without_unit(last) in _POSE and (quotient or last.endswith(UNITS)):
            key = ".".join([*before, f"{body}22", last])
        renamed[key] = under_own_names(value, body) if key == "per_clip" else value
    return renamed
