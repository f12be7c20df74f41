"""How two sets of features differ, and how one spreads: FID, diversity, R-precision, MM-Dist, multimodality.

Features are (N, D) float tensors; everything is computed in float64. Nothing is random in here: draws of pairs come in
as indices (`draw_pairs` makes them), so that a number can be repeated.

Two conventions are in use. Dance (AIST++, Duolando): `z_scores` of both sets with the true set, then
`frechet_distance` and `mean_pairwise_distance` over all pairs, of the kinetic and of the geometric features apart. Text
to motion (HumanML3D): features of the pretrained evaluator as they are, `frechet_distance` and `pair_distance` over 300
random pairs, means and 95 % intervals over 20 repetitions.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

STD_EPS = 1e-10


def constant_features(reference: Tensor, eps: float = STD_EPS) -> Tensor:
    """Which columns of (N, D) do not vary: (D,) bool, standard deviation at most `eps` or a millionth of the mean.

    The second is rounding: features of float32 joints that are constant in truth differ by as much.
    """
    values = reference.double()
    return values.std(dim=0, correction=0) <= (1e-6 * values.mean(dim=0).abs()).clamp_min(eps)


def z_scores(features: Tensor, reference: Tensor, eps: float = STD_EPS, drop_constant: bool = False) -> Tensor:
    """(x − mean) / (std + eps) with mean and population standard deviation (ddof 0) of the true set.

    A column that is constant in the true set but not here is divided by `eps` alone: the field's code does so, and FID
    then reaches 1e16. It is done with a warning; `drop_constant` leaves such columns out of the result instead, which
    must be said beside the number.

    Args:
        features: (N, D).
        reference: (M, D) the true set.
        eps: added to the deviation.
        drop_constant: leave `constant_features(reference)` out.

    Returns:
        (N, D) float64, or fewer columns.

    Raises:
        ValueError: the numbers of columns differ.
    """
    if features.dim() != 2 or reference.dim() != 2 or features.shape[1] != reference.shape[1]:
        raise ValueError(f"need (N,D) and (M,D), got {tuple(features.shape)} and {tuple(reference.shape)}")
    values, true = features.double(), reference.double()
    constant = constant_features(true, eps)
    if drop_constant:
        values, true = values[:, ~constant], true[:, ~constant]
    elif bool((values[:, constant] != true[:1, constant]).any()):
        columns = constant.nonzero().flatten().tolist()
        warnings.warn(f"features {columns} are constant in the true set: FID and diversity explode", stacklevel=2)
    return (values - true.mean(dim=0)) / (true.std(dim=0, correction=0) + eps)


def frechet_distance(first: Tensor, second: Tensor) -> Tensor:
    """FID: |μ_a − μ_b|² + tr(Σ_a + Σ_b − 2 (Σ_a Σ_b)^½), covariances with ddof 1; in squared units of the features.

    The trace of the root is Σ √λ of the symmetric matrix Σ_a^½ Σ_b Σ_a^½, which has the eigenvalues of Σ_a Σ_b. It is
    real and finite also where covariances are singular, as with fewer samples than dimensions (the estimate is then
    biased): the field's sqrtm may fail there, adds 1e-5 to the diagonals and drops an imaginary part; no such step is
    needed here. Symmetric, blind to the order of samples and to a common rotation and shift of both sets; rounding
    leaves about ±1e-8 of the trace for equal sets.

    Args:
        first: (..., N, D), N >= 2.
        second: (..., M, D), M >= 2.

    Returns:
        (...) float64.

    Raises:
        ValueError: fewer than two samples, or other dimensions.
    """
    if first.shape[-1] != second.shape[-1] or min(first.shape[-2], second.shape[-2]) < 2:
        raise ValueError(f"need (...,N,D) and (...,M,D), N and M >= 2: {tuple(first.shape)}, {tuple(second.shape)}")
    (mean, covariance), (other_mean, other_covariance) = _moments(first.double()), _moments(second.double())
    values, vectors = torch.linalg.eigh(covariance)
    root = (vectors * values.clamp_min(0).sqrt()[..., None, :]) @ vectors.transpose(-1, -2)
    product = torch.linalg.eigvalsh(root @ other_covariance @ root).clamp_min(0).sqrt().sum(-1)
    traces = (covariance + other_covariance).diagonal(dim1=-2, dim2=-1).sum(-1)
    return (mean - other_mean).square().sum(-1) + traces - 2 * product


def _moments(samples: Tensor) -> tuple[Tensor, Tensor]:
    mean = samples.mean(dim=-2)
    centred = samples - mean[..., None, :]
    return mean, centred.transpose(-1, -2) @ centred / (samples.shape[-2] - 1)


def mean_pairwise_distance(features: Tensor) -> Tensor:
    """DIV of AIST++ and Duolando: mean Euclidean distance over all unordered pairs of (N, D); scalar, NaN for N < 2.

    On z-scored features of the true set it is at most about √(2D): 12.0 for the 72 kinetic, 8.0 for the 32 geometric
    features. Above the true set's value a model scatters more than people do; that is no merit.
    """
    return torch.pdist(features.double()).mean()


def draw_pairs(count: int, draws: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two independent draws without replacement of `draws` out of `count` indices; a pair may meet itself.

    Raises:
        ValueError: fewer samples than draws.
    """
    if draws > count:
        raise ValueError(f"cannot draw {draws} of {count} samples without replacement")
    first, second = (torch.randperm(count, generator=generator)[:draws] for _ in range(2))
    return first, second


def pair_distance(features: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Diversity of HumanML3D: mean |x_i − x_j| over given pairs of (N, D) (300 of them in the field); scalar."""
    features = features.double()
    return (features[first] - features[second]).norm(dim=-1).mean()


def multimodality(features: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Mean |x_i − x_j| inside each text's samples: features (texts, samples, D), pairs of sample indices; scalar.

    The field takes 100 texts of 30 samples and 10 pairs, the same pairs for every text.
    """
    features = features.double()
    return (features[:, first] - features[:, second]).norm(dim=-1).mean()


def matching_distance(text: Tensor, motion: Tensor) -> Tensor:
    """MM-Dist: mean Euclidean distance of each text's feature to its own motion's, (N, D) and (N, D); scalar."""
    return (text.double() - motion.double()).norm(dim=-1).mean()


def r_precision(text: Tensor, motion: Tensor, top: int = 3, batch: int = 32) -> Tensor:
    """R-precision: share of texts whose own motion is among the k nearest of its batch, k = 1..`top`.

    Batches are consecutive rows; rows that fill no batch are left out, as in HumanML3D's loader. Another motion at
    exactly the same distance does not push the right one down.

    Args:
        text, motion: (N, D) features, matching rows; N >= `batch`.
        top: largest k.
        batch: rows that compete.

    Returns:
        (top,) float64, 0..1, never falling with k.

    Raises:
        ValueError: shapes differ or fill no batch.
    """
    if text.shape != motion.shape or text.dim() != 2 or len(text) < batch:
        raise ValueError(f"need matching (N,D), N >= {batch}, got {tuple(text.shape)} and {tuple(motion.shape)}")
    rows = len(text) // batch * batch
    texts, motions = (side[:rows].double().unflatten(0, (-1, batch)) for side in (text, motion))
    distances = torch.cdist(texts, motions, compute_mode="donot_use_mm_for_euclid_dist")
    ranks = (distances < distances.diagonal(dim1=-2, dim2=-1)[..., None]).sum(-1)
    return torch.stack([(ranks < k).double().mean() for k in range(1, top + 1)])
