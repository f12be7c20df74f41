"""One codebook on top of `vector-quantize-pytorch`: encoder outputs <-> ids, two losses, noise on ids in training.

In: (B, N, C) encoder outputs, or (B, N) ids. Out: (B, N, C) decoder inputs, (B, N) int64 ids.
Codebook, moving averages and the "k-means done" flag are all buffers or parameters, so a checkpoint resumes exactly.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from vector_quantize_pytorch import VectorQuantize

from .config import MotionTokenizerConfig

NEIGHBOURS = 8


class MotionQuantizer(nn.Module):
    """Projects to the codebook's dimension, picks the nearest of `codebook_size` codes and projects back."""

    def __init__(self, config: MotionTokenizerConfig) -> None:
        super().__init__()
        width, dim = config.widths[-1], config.code_dim
        self.config = config
        self.project_in = nn.Linear(width, dim) if config.codebook_dim else nn.Identity()
        self.project_out = nn.Linear(dim, width) if config.codebook_dim else nn.Identity()
        gradient = config.codebook_update == "gradient"
        self.vq = VectorQuantize(
            dim=dim,
            codebook_size=config.codebook_size,
            decay=config.codebook_decay,
            use_cosine_sim=config.codebook_cosine,
            kmeans_init=config.kmeans_init,
            threshold_ema_dead_code=config.dead_code_threshold,  # pyright: ignore[reportArgumentType]
            ema_update=not gradient,
            learnable_codebook=gradient,
            rotation_trick=False,
        )
        # k-means starts from zeros in the library; random codes keep an untrained tokenizer usable
        start = torch.randn(config.codebook_size, dim)
        if config.codebook_cosine:
            start = F.normalize(start, dim=-1)
        state: Any = self.vq._codebook
        with torch.no_grad():
            state.embed.copy_(start[None])
            state.embed_avg.copy_(start[None])

    @property
    def codebook(self) -> Tensor:
        """(codebook_size, code_dim) codes."""
        return self.vq.codebook

    def forward(self, encoded: Tensor, quantize: bool = True) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Quantises in training or evaluation.

        Args:
            encoded: (B, N, C) encoder outputs.
            quantize: False passes the projected values on unquantised (a warm-up); the ids are still the nearest codes.

        Returns:
            (B, N, C) decoder inputs with straight-through gradients, (B, N) ids, the terms "commitment" and "codebook".
        """
        projected = self._project(encoded)
        if not quantize or not self.training:
            ids = self._nearest(projected)
            nearest = F.embedding(ids, self.codebook)
            passed = projected if not quantize else nearest
            losses = {"commitment": F.mse_loss(projected, nearest.detach()), "codebook": encoded.new_zeros(())}
            if not quantize:
                losses["commitment"] = encoded.new_zeros(())
            return self.project_out(passed), ids, losses
        quantized, ids, _ = self.vq(projected)
        nearest = F.embedding(ids, self.codebook)
        losses = {"commitment": F.mse_loss(projected, nearest.detach())}
        gradient = self.config.codebook_update == "gradient"
        losses["codebook"] = F.mse_loss(nearest, projected.detach()) if gradient else encoded.new_zeros(())
        return self.project_out(self._add_code_noise(quantized, ids)), ids, losses

    def freeze_codes(self) -> None:
        """Stops all learning and revival of codes; the projection behind the codebook still trains."""
        self.project_in.requires_grad_(False)
        self.vq.requires_grad_(False)
        self.vq.freeze_codebook = True

    def encode(self, encoded: Tensor) -> Tensor:
        """(B, N, C) encoder outputs -> (B, N) int64 ids of the nearest codes."""
        return self._nearest(self._project(encoded))

    def decode(self, ids: Tensor) -> Tensor:
        """(B, N) ids -> (B, N, C) decoder inputs."""
        return self.project_out(F.embedding(ids, self.codebook))

    def _project(self, encoded: Tensor) -> Tensor:
        projected = self.project_in(encoded)
        return F.normalize(projected, dim=-1) if self.config.codebook_cosine else projected

    @torch.no_grad()
    def _nearest(self, projected: Tensor) -> Tensor:
        codes = self.codebook.to(projected.dtype)
        # |x - c|^2 without |x|^2, which does not change the order
        scores = projected @ codes.T - 0.5 * codes.square().sum(-1)
        return scores.argmax(dim=-1)

    def _add_code_noise(self, quantized: Tensor, ids: Tensor) -> Tensor:
        near, anywhere = self.config.neighbour_code_noise, self.config.random_code_noise
        if near + anywhere == 0:
            return quantized
        with torch.no_grad():
            codes = self.codebook
            size = codes.shape[0]
            distance = torch.cdist(codes, codes)
            ranked = distance.topk(min(NEIGHBOURS + 1, size), largest=False).indices
            choice = torch.randint(ranked.shape[1], ids.shape, device=ids.device)
            draw = torch.rand(ids.shape, device=ids.device)
            wrong = torch.where(draw < near, ranked[ids, choice], torch.randint(size, ids.shape, device=ids.device))
            replaced = (draw < near + anywhere).unsqueeze(-1)
            noise = F.embedding(wrong, codes) - F.embedding(ids, codes)
        # added as a constant, so that the straight-through gradient still reaches the encoder
        return quantized + replaced * noise
