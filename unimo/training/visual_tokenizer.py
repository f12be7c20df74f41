"""Training of the discrete visual tokenizer: wavelet errors, the person counted more, and joints found in the codes.

In: a `ClipPack` of rendered clips with the person's mask. Out: a trained `DiscreteVisualTokenizer`. Every clip of a
batch is mirrored, brightened and tinted at random; part of the steps see random squares of the frame instead of
whole frames, which shows more people for the same arithmetic. Further whole clips go through the encoder alone: from
their codes a head that is not shipped must find the 22 joints, so that the ids keep the pose.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unimo.data.pack import ClipPack
from unimo.motion.batches import canonical_features, mirror_features
from unimo.training.clip_batches import ClipBatches, ClipDataConfig
from unimo.training.config import OptimizationConfig
from unimo.training.keypoints import CodeKeypointHead, keypoint_targets
from unimo.training.task import Batch, step_generator
from unimo.training.video_losses import ReconstructionLoss
from unimo.training.video_scores import score_reconstructions
from visual_tokenizer import (
    DiscreteVisualTokenizer,
    VisualTokenizerConfig,
    code_spread,
    haar_patch,
    initialize_for_training,
)


@dataclass(frozen=True)
class VisualDataConfig(ClipDataConfig):
    """What the discrete tokenizer sees and what counts.

    Attributes:
        spread_weight: weight of `code_spread`.
        keypoint_weight: weight of finding the 22 joints and their depth in the codes; without effect on `decoder_only`.
        keypoint_clips: whole clips a step in which joints are looked for.
        decoder_only: leave the encoder as it is, so that ids and everything trained on them stay valid.
    """

    spread_weight: float = 0.3
    keypoint_weight: float = 0.0
    keypoint_clips: int = 8
    decoder_only: bool = False


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
        self.config, self.validation, self.device = config, validation, device
        torch.manual_seed(config.optimization.seed)
        if model is None:
            model = DiscreteVisualTokenizer(config.model)
            initialize_for_training(model)
        if config.data.decoder_only:
            model.encoder.requires_grad_(False)
            model.quant_conv.requires_grad_(False)
        self.shipped = model.to(device)
        self.model: nn.Module = nn.ModuleDict({"tokenizer": self.shipped})
        self.batches = ClipBatches(train, config.data, config.optimization.batch_size)
        self.errors = ReconstructionLoss(config.data, device)
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
        rng = step_generator(self.config.optimization.seed, step)
        clips = self.batches.draw(rng)
        video, mask = clips.video.to(self.device), clips.mask.to(self.device)
        batch: Batch = {"names": clips.rows.tolist(), "video": video, "mask": mask}
        if self.reader is not None:
            clips = self.batches.clips(self.config.data.keypoint_clips, self.batches.side, rng)
            batch["names"] += clips.rows.tolist()
            keypoints = self.targets[clips.mirrored, clips.rows]
            batch |= {"keypoint_video": clips.video.to(self.device), "keypoints": keypoints}
        return batch

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        data, target = self.config.data, haar_patch(batch["video"])
        coefficients, latents, _ = self.shipped.reconstruct_coefficients(target)
        total, numbers = self.errors(coefficients, target, batch["video"], batch["mask"])
        spread = code_spread(latents)
        total, numbers["spread"] = total + data.spread_weight * spread, float(spread.detach())
        if self.reader is not None:
            codes, _ = self.shipped.quantizer(self.shipped.latents(batch["keypoint_video"]))
            keypoint_loss, more = self.reader.loss(codes, batch["keypoints"])
            total, numbers = total + data.keypoint_weight * keypoint_loss, numbers | more
        return total, numbers

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Means over clips of `score_reconstructions`, what is found in the ids, and their use.

        `keypoint_loss` and `keypoint_depth_m` are means over clips of what `CodeKeypointHead` finds in the ids.
        `code_entropy_bits` is the entropy of the ids over all clips; the largest possible is log2 of their number.
        """
        all_ids: list[Tensor] = []

        def reconstruct(video: Tensor) -> Tensor:
            drawn, ids = self.shipped(video)
            all_ids.append(ids)
            return drawn

        numbers = score_reconstructions(reconstruct, self.validation, self.config.data.validation_clips, self.device)
        ids = torch.cat(all_ids)
        if self.reader is not None:
            codes = self.shipped.quantizer.codes(ids)
            numbers |= self.reader.loss(codes, self.validation_targets[: len(ids)])[1]
        used = torch.bincount(ids.flatten().cpu(), minlength=self.shipped.num_ids)
        share = used[used > 0] / used.sum()
        return numbers | {
            "code_entropy_bits": float(-(share * share.log2()).sum()),
            "codebook_use": float((used > 0).float().mean()),
        }
