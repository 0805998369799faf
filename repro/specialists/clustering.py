"""Section 5.3: which classes go to which specialist, from the generalist's predictions alone.

Nothing here takes a label. The classes that a generalist confuses are probable together, so they show in
the covariance of its predictions; the paper runs an online k-means on the columns of that matrix.
"""

import warnings
from collections.abc import Iterable
from itertools import combinations

import torch
from jaxtyping import Float, Int
from sklearn.cluster import SpectralClustering, kmeans_plusplus
from torch import Tensor

from repro.errors import UserError
from repro.training.random_streams import Stream, generator

# What is added to every affinity, so that the graph of the classes hangs together.
FAINT = 1e-6
TINY = 1e-30


def assign(
    method: str, probabilities: Float[Tensor, "case classes"], clusters: int, size: int, seed: int
) -> Int[Tensor, "specialist size"]:
    """The special classes of each specialist: sorted, no two subsets the same.

    Args:
        method: "k-means" (the paper's), "spectral", or "random" (the control, which ignores the predictions).
        probabilities: the generalist's, on training or validation images.
        clusters: how many specialists.
        size: how many classes each.

    Raises:
        UserError: these classes do not bear so many specialists or such subsets, or there is no such method.
    """
    classes = probabilities.shape[-1]
    check(classes, clusters, size)
    if method == "k-means":
        columns = confusion_columns(covariance(probabilities))
        return subsets_from_centroids(columns, online_k_means(columns, clusters, seed), size)
    if method == "spectral":
        return spectral_subsets(covariance(probabilities), clusters, size, seed)
    if method == "random":
        return random_subsets(classes, clusters, size, seed)
    raise UserError(f"setting specialists.method: should be k-means, spectral or random, not {method!r}")


def check(classes: int, clusters: int, size: int) -> None:
    """Refuse more specialists than classes, and subsets that leave nothing to confuse or no dustbin.

    What passes always has enough different subsets: there are at least ``classes`` of any such size.

    Raises:
        UserError: one line that names the setting.
    """
    if not 1 <= clusters <= classes:
        raise UserError(f"setting specialists.count: should be 1 to {classes}, one for each class, not {clusters}")
    if size < 2:
        raise UserError(f"setting specialists.size: should be at least 2 classes, not {size}")
    if size >= classes:
        raise UserError(
            f"setting specialists.size: should be at most {classes - 1}, as one of the {classes} classes at least"
            f" is left to the dustbin, not {size}"
        )


def covariance(probabilities: Float[Tensor, "case classes"], block: int = 4096) -> Float[Tensor, "classes classes"]:
    """The covariance of the predicted probabilities over two cases or more, unbiased (divided by cases - 1).

    Worked out ``block`` cases at a time, so that no second copy of the probabilities is made.
    """
    mean = probabilities.mean(0, dtype=torch.float64).to(probabilities.dtype)
    total = probabilities.new_zeros(len(mean), len(mean))
    for cases in probabilities.split(block):
        apart = cases - mean
        total.addmm_(apart.T, apart)
    return total / (len(probabilities) - 1)


def correlation(covariance: Float[Tensor, "classes classes"]) -> Float[Tensor, "classes classes"]:
    """The covariance with every class's own spread divided out; 0 for a class whose probability never varies."""
    spread = covariance.diagonal().clamp_min(TINY).sqrt()
    return covariance / spread / spread[:, None]


def confusion_columns(
    covariance: Float[Tensor, "classes classes"], scaled: bool = True, diagonal: bool = False
) -> Float[Tensor, "class classes"]:
    """The columns that k-means is run on, one a row (the matrix is symmetric). The paper says no more than "columns".

    Args:
        scaled: take the correlation in place of the covariance and give every column unit length, so that
            frequent classes, whose probabilities vary most, dominate neither as columns nor as coordinates.
        diagonal: keep a class's own variance. It says nothing of which classes are confused, yet outweighs
            all that does: with it every column is far from every other and k-means sets single classes
            apart. It is not set to zero either, for then two classes confused with each other alone would
            have orthogonal columns, but to the largest other entry of its column.
    """
    columns = correlation(covariance) if scaled else covariance.clone()
    if not diagonal:
        columns.fill_diagonal_(-torch.inf)
        columns.diagonal().copy_(columns.amax(0))
    return columns / columns.norm(dim=1, keepdim=True).clamp_min(TINY) if scaled else columns


def online_k_means(
    columns: Float[Tensor, "class dimension"], clusters: int, seed: int, passes: int = 20
) -> Float[Tensor, "cluster dimension"]:
    """Centroids by online k-means (MacQueen 1967): one column at a time moves its nearest centroid towards it.

    The n-th column that a centroid receives moves it by 1 / n of the way, so that it is the mean of all it has
    received; the first is given by k-means++. Every pass takes the columns in a fresh random order.
    """
    draw = generator(Stream.K_MEANS, seed)
    points = columns.numpy()
    start = int(torch.randint(2**31, (1,), generator=draw))
    centroids = kmeans_plusplus(points, clusters, random_state=start)[0].copy()
    received = [1] * clusters
    # |x - c|^2 / 2 less |x|^2 / 2, which is the same for every centroid.
    half_square = (centroids**2).sum(1) / 2
    for _ in range(passes):
        for number in torch.randperm(len(points), generator=draw).tolist():
            point = points[number]
            nearest = int((half_square - centroids @ point).argmin())
            received[nearest] += 1
            centroid = centroids[nearest]
            centroid += (point - centroid) / received[nearest]
            half_square[nearest] = centroid @ centroid / 2
    return torch.from_numpy(centroids)


def subsets_from_centroids(
    columns: Float[Tensor, "class dimension"], centroids: Float[Tensor, "cluster dimension"], size: int
) -> Int[Tensor, "cluster size"]:
    """For each centroid the ``size`` classes whose columns are nearest to it.

    The paper's subsets of 300 overlap (section 5.5), but it does not say how they come from the clusters.
    Here a class is special to every specialist that it is near enough to, and may be special to none.
    """
    return _distinct(torch.cdist(centroids, columns).argsort(dim=1, stable=True), size)


def spectral_subsets(
    covariance: Float[Tensor, "classes classes"], clusters: int, size: int, seed: int
) -> Int[Tensor, "cluster size"]:
    """Spectral clustering (one of the "other algorithms" of section 5.3), each cluster made ``size`` classes.

    The affinity of two classes is their correlation where it is positive. A cluster keeps the members with
    the largest mean affinity to it; one that is too small takes in the other classes with the largest.
    """
    affinity = correlation(covariance).clamp_min(0) + FAINT
    start = int(torch.randint(2**31, (1,), generator=generator(Stream.SPECTRAL_CLUSTERING, seed)))
    model = SpectralClustering(clusters, affinity="precomputed", random_state=start)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "k >= N")  # as many clusters as classes: the solver changes
        labels = torch.from_numpy(model.fit(affinity.double().numpy()).labels_).long()
    member = torch.nn.functional.one_hot(labels, clusters).T.to(affinity.dtype)
    to_cluster = member @ affinity / member.sum(1, keepdim=True).clamp_min(1)
    # Correlations are at most 1, so members come first.
    return _distinct((to_cluster + 2 * member).argsort(dim=1, descending=True, stable=True), size)


def random_subsets(classes: int, clusters: int, size: int, seed: int) -> Int[Tensor, "cluster size"]:
    """Subsets drawn at random, the control: what specialists give when their classes are not confusable."""
    return _distinct(
        torch.rand(clusters, classes, generator=generator(Stream.RANDOM_SUBSETS, seed)).argsort(dim=1), size
    )


def _distinct(ranked: Int[Tensor, "cluster classes"], size: int) -> Int[Tensor, "cluster size"]:
    """The first ``size`` classes of each ranking, sorted.

    Where an earlier cluster has the same classes, the last-ranked are exchanged for the next ones until
    the subset is new.
    """
    taken: dict[tuple[int, ...], None] = {}
    for order in ranked.tolist():
        taken[next(subset for subset in _by_rank(order, size) if subset not in taken)] = None
    return torch.tensor(list(taken))


def _by_rank(order: list[int], size: int) -> Iterable[tuple[int, ...]]:
    """All subsets of a size, those with the first-ranked classes first."""
    return (tuple(sorted(subset)) for subset in combinations(order, size))
