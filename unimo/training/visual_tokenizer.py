"""Training of the discrete visual tokenizer: wavelet errors, the person counted more, and joints found in the codes.

In: a `ClipPack` of rendered clips with the person's mask. Out: a trained `DiscreteVisualTokenizer`. Every clip of a
batch is mirrored, brightened and tinted at random; part of the steps see random squares of the frame instead of
whole frames, which shows more people for the same arithmetic. Further whole clips go through the encoder alone: from
their codes a head that is not shipped must find the 22 joints, so that the ids keep the pose.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from unimo.data.pack import ClipPack
from unimo.media.pixels import to_frames, to_video
from unimo.metrics.video import box_downsampled, psnr_db
from unimo.motion.batches import canonical_features, mirror_features
from unimo.training.config import OptimizationConfig
from unimo.training.keypoints import CodeKeypointHead, keypoint_targets
from unimo.training.task import Batch, step_generator
from visual_tokenizer import (
    DiscreteVisualTokenizer,
    VisualTokenizerConfig,
    block_weights,
    code_spread,
    haar_patch,
    initialize_for_training,
    wavelet_losses,
)

_VALIDATION_BATCH = 8


@dataclass(frozen=True)
class VisualDataConfig:
    """What the visual tokenizer sees and what counts.

    Attributes:
        person_weight: weight of the person's pixels against 1 elsewhere.
        l1_weight, l2_weight, spread_weight: weights of the loss terms.
        crop: side of the square crops in pixels, a multiple of 16.
        whole_share: share of the steps on whole frames; they hold fewer clips, so that a step costs the same.
        gain, offset: largest random change of the colours, relative (each colour) and absolute (all, of 2).
        keypoint_weight: weight of finding the 22 joints and their depth in the codes; without effect on `decoder_only`.
        keypoint_clips: whole clips a step in which joints are looked for.
        decoder_only: leave the encoder as it is, so that ids and everything trained on them stay valid.
        validation_clips: clips of the validation pack that are scored.
    """

    person_weight: float = 4.0
    l1_weight: float = 1.0
    l2_weight: float = 1.0
    spread_weight: float = 0.3
    crop: int = 64
    whole_share: float = 1.0
    gain: float = 0.15
    offset: float = 0.1
    keypoint_weight: float = 0.0
    keypoint_clips: int = 8
    decoder_only: bool = False
    validation_clips: int = 64


@dataclass(frozen=True)
class VisualTokenizerTrainingConfig:
    """configs/visual_tokenizer/*.yaml."""

    model: VisualTokenizerConfig
    optimization: OptimizationConfig
    data: VisualDataConfig = VisualDataConfig()


class VisualTokenizerTask:
    """Learns to draw clips from their ids.

    Args:
        config: sizes, schedule and data of the run.
        train, validation: rendered clips.
        model: weights to go on from; None starts afresh.
        device: of the model.
        canonical_focal: focal length, as a multiple of the side, of the camera that joints are seen with.
    """

    name = "visual-tokenizer"

    def __init__(
        self,
        config: VisualTokenizerTrainingConfig,
        train: ClipPack,
        validation: ClipPack,
        model: DiscreteVisualTokenizer | None = None,
        device: str = "cpu",
        canonical_focal: float = 1.2,
    ) -> None:
        self.config, self.train, self.validation, self.device = config, train, validation, device
        torch.manual_seed(config.optimization.seed)
        if model is None:
            model = DiscreteVisualTokenizer(config.model)
            initialize_for_training(model)
        if config.data.decoder_only:
            model.encoder.requires_grad_(False)
            model.quant_conv.requires_grad_(False)
        self.shipped = model.to(device)
        self.model: nn.Module = nn.ModuleDict({"tokenizer": self.shipped})
        self.reader: CodeKeypointHead | None = None
        if config.data.keypoint_weight and not config.data.decoder_only:
            self.reader = CodeKeypointHead(len(config.model.fsq_levels)).to(device)
            self.model["reader"] = self.reader
            self.targets = self._targets(train, canonical_focal, 2)
            self.validation_targets = self._targets(validation, canonical_focal, 1)[0]

    def _targets(self, pack: ClipPack, canonical_focal: float, images: int) -> Tensor:
        """Where the joints of all clips are, (images, N, K, 2, 22, 3); the second image is the mirror's."""
        _, frames, _, side = pack.frames.shape[:4]
        features = canonical_features(pack.motions, pack.intrinsics, side, canonical_focal)
        latent_frames = 1 + (frames - 1) // self.config.model.temporal_compression
        both = [features, mirror_features(features)][:images]
        return torch.stack([keypoint_targets(each, canonical_focal, latent_frames) for each in both])

    def batch(self, step: int) -> Batch:
        data, rng = self.config.data, step_generator(self.config.optimization.seed, step)
        side, count = self.train.frames.shape[2], self.config.optimization.batch_size
        whole = data.crop >= side or rng.random() < data.whole_share
        crop = side if whole else data.crop
        if whole and data.crop < side:
            count = max(1, round(count * (data.crop / side) ** 2))
        rows, _, video, mask = self._clips(count, crop, rng)
        batch: Batch = {"names": rows.tolist(), "video": video.to(self.device), "mask": mask.to(self.device)}
        if self.reader is not None:
            rows, mirrored, video, _ = self._clips(data.keypoint_clips, side, rng)
            batch["names"] += rows.tolist()
            batch |= {"keypoint_video": video.to(self.device), "keypoints": self.targets[mirrored, rows]}
        return batch

    def _clips(self, count: int, crop: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, Tensor, Tensor]:
        """Rows and mirrored (count,), video (count,3,T,crop,crop) in random colours and mask (count,T,crop,crop)."""
        data, side = self.config.data, self.train.frames.shape[2]
        rows = np.sort(rng.integers(len(self.train), size=count))
        mirrored = rng.integers(2, size=count)
        frames, masks = [], []
        for row, mask, mirror in zip(rows, self.train.masks(rows), mirrored, strict=True):
            y, x = rng.integers(side - crop + 1, size=2)
            window = np.s_[:, y : y + crop, x : x + crop]
            direction = -1 if mirror else 1
            frames.append(self.train.frames[row][window][:, :, ::direction])
            masks.append(mask[window][:, :, ::direction])
        gain = 1 + rng.uniform(-data.gain, data.gain, (count, 3, 1, 1, 1))
        offset = rng.uniform(-data.offset, data.offset, (count, 1, 1, 1, 1))
        video = to_video(np.stack(frames)) * torch.from_numpy(gain).float() + torch.from_numpy(offset).float()
        return rows, mirrored, video.clamp(-1, 1), torch.from_numpy(np.stack(masks))

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        data = self.config.data
        target = haar_patch(batch["video"])
        coefficients, latents, _ = self.shipped.reconstruct_coefficients(target)
        losses = wavelet_losses(coefficients, target, block_weights(batch["mask"], data.person_weight))
        losses["spread"] = code_spread(latents)
        total = data.l1_weight * losses["l1"] + data.l2_weight * losses["l2"] + data.spread_weight * losses["spread"]
        numbers = {key: float(value.detach()) for key, value in losses.items()}
        if self.reader is not None:
            codes, _ = self.shipped.quantizer(self.shipped.latents(batch["keypoint_video"]))
            keypoint_loss, more = self.reader.loss(codes, batch["keypoints"])
            total, numbers = total + data.keypoint_weight * keypoint_loss, numbers | more
        return total, numbers

    def validate(self, model: nn.Module) -> dict[str, float]:
        """PSNR (dB, mean over clips) of the frame and of the person, beside a 16x smaller copy's, and use of the ids.

        `keypoint_loss` and `keypoint_depth_m` are means over clips of what `CodeKeypointHead` finds in the ids.
        `code_entropy_bits` is the entropy of the ids over all clips; the largest possible is log2 of their number.
        """
        count = min(self.config.data.validation_clips, len(self.validation))
        scores: list[tuple[float, ...]] = []
        all_ids: list[Tensor] = []
        for start in range(0, count, _VALIDATION_BATCH):
            rows = np.arange(start, min(start + _VALIDATION_BATCH, count))
            frames, masks = np.asarray(self.validation.frames[rows]), self.validation.masks(rows)
            reconstruction, ids = self.shipped(to_video(frames).to(self.device))
            all_ids.append(ids)
            drawn = to_frames(reconstruction)
            for real, ours, mask in zip(frames, drawn, masks, strict=True):
                small = box_downsampled(real)
                pairs = ((ours, None), (ours, mask), (small, None), (small, mask))
                scores.append(tuple(psnr_db(picture, real, where) for picture, where in pairs))
        names = ("psnr_db", "psnr_person_db", "downsampled.psnr_db", "downsampled.psnr_person_db")
        numbers = dict(zip(names, np.nanmean(np.array(scores), axis=0).tolist(), strict=True))
        ids = torch.cat(all_ids)
        if self.reader is not None:
            codes = self.shipped.quantizer.codes(ids)
            numbers |= self.reader.loss(codes, self.validation_targets[:count])[1]
        used = torch.bincount(ids.flatten().cpu(), minlength=self.shipped.num_ids)
        share = used[used > 0] / used.sum()
        return numbers | {
            "code_entropy_bits": float(-(share * share.log2()).sum()),
            "codebook_use": float((used > 0).float().mean()),
        }
