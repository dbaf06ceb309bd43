"""Distances between two sets of feature vectors: how alike, how varied, how new.

N real and M generated vectors of F features each, float32 or float64 tensors on the CPU.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

NEIGHBOURS = 5
CHUNK = 512
"""Rows of a distance matrix at a time: 2,000 against 20,000 vectors would take 160 MB at once."""


def frechet_distance(real_nf: Tensor, made_mf: Tensor) -> float:
    """|m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^½) between two Gaussians fitted to the features.

    The eigenvalues of C1 C2 are those of the symmetric √C1 C2 √C1, which float64 finds safely.
    Heusel et al. 2017 (arXiv 1706.08500) define it; with other features than theirs it is no FID.
    """
    real, made = real_nf.double(), made_mf.double()
    real_covariance, made_covariance = torch.cov(real.T), torch.cov(made.T)
    values, vectors = torch.linalg.eigh(real_covariance)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    shared = torch.linalg.eigvalsh(root @ made_covariance @ root).clamp(min=0).sqrt().sum()
    apart = (real.mean(0) - made.mean(0)).square().sum()
    return float(apart + real_covariance.trace() + made_covariance.trace() - 2 * shared)


def kernel_distance(real_nf: Tensor, made_mf: Tensor) -> float:
    """Unbiased squared maximum mean discrepancy under the kernel (x·y/F + 1)³.

    Without bias it can be slightly negative, and small samples do not raise it (Bińkowski et al.
    2018, arXiv 1801.01401).
    """
    real, made = real_nf.double(), made_mf.double()

    def kernel(left: Tensor, right: Tensor) -> Tensor:
        return (left @ right.T / real.shape[1] + 1) ** 3

    def mean_of_pairs(values: Tensor) -> Tensor:
        count = len(values)
        return (values.sum() - values.trace()) / (count * (count - 1))

    among_real, among_made = kernel(real, real), kernel(made, made)
    return float(
        mean_of_pairs(among_real) + mean_of_pairs(among_made) - 2 * kernel(real, made).mean()
    )


@dataclass(frozen=True)
class Neighbourhoods:
    """How two sets lie among each other's k nearest neighbours, each 0 to 1 but density."""

    precision: float
    """Share of generated vectors within reach of a real one (Kynkäänniemi et al. 2019)."""
    recall: float
    """Share of real vectors within reach of a generated one."""
    density: float
    """Real neighbourhoods that a generated vector lies in, over k (Naeem et al. 2020)."""
    coverage: float
    """Share of real vectors with a generated one among their k nearest real neighbours."""


def neighbourhoods(real_nf: Tensor, made_mf: Tensor) -> Neighbourhoods:
    """A vector's reach is the distance to its k-th nearest neighbour in its own set."""
    real_reach, made_reach = _reach(real_nf), _reach(made_mf)
    distance_nm = torch.cdist(real_nf, made_mf)
    in_real_nm = distance_nm < real_reach[:, None]
    in_made_nm = distance_nm < made_reach[None, :]
    return Neighbourhoods(
        precision=float(in_real_nm.any(0).float().mean()),
        recall=float(in_made_nm.any(1).float().mean()),
        density=float(in_real_nm.float().sum(0).mean() / min(NEIGHBOURS, len(real_nf) - 1)),
        coverage=float(in_real_nm.any(1).float().mean()),
    )


def median_nearest(vectors_mf: Tensor, among_nf: Tensor) -> float:
    """Median over the vectors of the distance to the nearest one among others."""
    nearest = [torch.cdist(chunk, among_nf).amin(1) for chunk in vectors_mf.split(CHUNK)]
    return float(torch.cat(nearest).median())


def _reach(vectors_nf: Tensor) -> Tensor:
    """Distance to the k-th nearest other; the nearest of all is the vector itself."""
    neighbours = min(NEIGHBOURS, len(vectors_nf) - 1)
    return torch.cdist(vectors_nf, vectors_nf).kthvalue(neighbours + 1, dim=1).values
