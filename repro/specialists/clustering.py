"""Section 5.3: assignment of classes to specialists from the generalist's predictions, without labels.

Classes that a generalist confuses are probable together, so the covariance of its predictions shows them. The paper
runs an online k-means on the columns of that matrix.
"""

import warnings
from collections.abc import Iterable
from itertools import combinations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repro.errors import UserError
from repro.training.random_streams import Stream, generator

# Added to every affinity, so that the graph of the classes is connected.
MIN_AFFINITY = 1e-6
TINY = 1e-30


def assign(
    algorithm: str, probabilities: Float[Tensor, "case classes"], clusters: int, size: int, seed: int
) -> Int[Tensor, "specialist size"]:
    """Return the special classes of each specialist, sorted; no two specialists have the same classes.

    Args:
        algorithm: "k-means" (the paper's), "spectral", or "random" (the control, which ignores the predictions).
        probabilities: predictions of the generalist on training or validation images.
        clusters: number of specialists.
        size: number of classes of each specialist.

    Raises:
        UserError: there are too few classes for these numbers, or the algorithm is unknown.
    """
    classes = probabilities.shape[-1]
    check(classes, clusters, size)
    if algorithm == "k-means":
        columns = confusion_columns(covariance(probabilities))
        return subsets_from_centroids(columns, online_k_means(columns, clusters, seed), size)
    if algorithm == "spectral":
        return spectral_subsets(covariance(probabilities), clusters, size, seed)
    if algorithm == "random":
        return random_subsets(classes, clusters, size, seed)
    raise UserError(f"setting specialists.clustering: must be k-means, spectral or random, not {algorithm!r}")


def check(classes: int, clusters: int, size: int) -> None:
    """Check that there are at least as many classes as specialists, and that subsets have a valid size.

    A subset has at least two classes and leaves at least one to the dustbin. There are always enough different
    subsets: at least ``classes`` of any such size.

    Raises:
        UserError: a number is out of range; the message names the setting.
    """
    if not 1 <= clusters <= classes:
        raise UserError(f"setting specialists.count: must be 1 to {classes}, one for each class, not {clusters}")
    if size < 2:
        raise UserError(f"setting specialists.classes_per_specialist: must be at least 2 classes, not {size}")
    if size >= classes:
        raise UserError(
            f"setting specialists.classes_per_specialist: must be at most {classes - 1}, as at least one of the"
            f" {classes} classes is left to the dustbin, not {size}"
        )


def covariance(probabilities: Float[Tensor, "case classes"], block: int = 4096) -> Float[Tensor, "classes classes"]:
    """Return the unbiased covariance (divided by cases - 1) of the probabilities of two cases or more.

    It is computed ``block`` cases at a time, so that the probabilities are not copied.
    """
    mean = probabilities.mean(0, dtype=torch.float64).to(probabilities.dtype)
    total = probabilities.new_zeros(len(mean), len(mean))
    for cases in probabilities.split(block):
        deviation = cases - mean
        total.addmm_(deviation.T, deviation)
    return total / (len(probabilities) - 1)


def correlation(covariance: Float[Tensor, "classes classes"]) -> Float[Tensor, "classes classes"]:
    """Return the correlations of a covariance matrix; 0 for a class whose probability is constant."""
    deviation = covariance.diagonal().clamp_min(TINY).sqrt()
    return covariance / deviation / deviation[:, None]


def confusion_columns(
    covariance: Float[Tensor, "classes classes"], scaled: bool = True, diagonal: bool = False
) -> Float[Tensor, "class classes"]:
    """Return the columns to cluster, one in each row (the matrix is symmetric).

    The paper specifies no more than "columns of the covariance matrix".

    Args:
        scaled: use correlations and scale every column to unit length, so that frequent classes, whose
            probabilities vary most, do not dominate.
        diagonal: keep each class's variance. It does not show which classes are confused, but is by far the
            largest entry: every column is then far from all others, and k-means isolates single classes.
            Otherwise it is replaced by the largest other entry of its column. Zero would not do, because two
            classes that are confused only with each other would have orthogonal columns.
    """
    columns = correlation(covariance) if scaled else covariance.clone()
    if not diagonal:
        columns.fill_diagonal_(-torch.inf)
        columns.diagonal().copy_(columns.amax(0))
    return columns / columns.norm(dim=1, keepdim=True).clamp_min(TINY) if scaled else columns


def online_k_means(
    columns: Float[Tensor, "class dimension"], clusters: int, seed: int, epochs: int = 20
) -> Float[Tensor, "cluster dimension"]:
    """Return centroids by online k-means (MacQueen 1967): each column in turn moves its nearest centroid towards it.

    The n-th column assigned to a centroid moves it by 1 / n of the distance, so that the centroid is the mean of all
    columns assigned to it; k-means++ gives the first. Every epoch takes the columns in a new random order.
    """
    from sklearn.cluster import kmeans_plusplus  # here, for it takes a second

    draw = generator(Stream.K_MEANS, seed)
    points = columns.numpy()
    start = int(torch.randint(2**31, (1,), generator=draw))
    centroids = kmeans_plusplus(points, clusters, random_state=start)[0].copy()
    received = [1] * clusters
    # For the nearest centroid: |x - c|^2 / 2 without |x|^2 / 2, which is the same for every centroid.
    half_square = (centroids**2).sum(1) / 2
    for _ in range(epochs):
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
    """Return, for each centroid, the ``size`` classes whose columns are nearest to it.

    The paper's subsets of 300 classes overlap (section 5.5); how they follow from the clusters is not specified.
    Here a class may be special to several specialists or to none.
    """
    return _distinct(torch.cdist(centroids, columns).argsort(dim=1, stable=True), size)


def spectral_subsets(
    covariance: Float[Tensor, "classes classes"], clusters: int, size: int, seed: int
) -> Int[Tensor, "cluster size"]:
    """Return subsets by spectral clustering, one of the "other algorithms" of section 5.3.

    The affinity of two classes is their correlation where it is positive. A cluster with too many members keeps those
    with the largest mean affinity to it; one with too few is filled with the other classes of largest mean affinity.
    """
    from sklearn.cluster import SpectralClustering  # here, for it takes a second

    affinity = correlation(covariance).clamp_min(0) + MIN_AFFINITY
    start = int(torch.randint(2**31, (1,), generator=generator(Stream.SPECTRAL_CLUSTERING, seed)))
    model = SpectralClustering(clusters, affinity="precomputed", random_state=start)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "k >= N")  # as many clusters as classes: another solver is used
        labels = torch.from_numpy(model.fit(affinity.double().numpy()).labels_).long()
    member = torch.nn.functional.one_hot(labels, clusters).T.to(affinity.dtype)
    to_cluster = member @ affinity / member.sum(1, keepdim=True).clamp_min(1)
    # Correlations are at most 1, so members come first.
    return _distinct((to_cluster + 2 * member).argsort(dim=1, descending=True, stable=True), size)


def random_subsets(classes: int, clusters: int, size: int, seed: int) -> Int[Tensor, "cluster size"]:
    """Return random subsets, the control: specialists whose classes are not confusable."""
    return _distinct(
        torch.rand(clusters, classes, generator=generator(Stream.RANDOM_SUBSETS, seed)).argsort(dim=1), size
    )


def _distinct(ranked: Int[Tensor, "cluster classes"], size: int) -> Int[Tensor, "cluster size"]:
    """Return the first ``size`` classes of each ranking, sorted.

    Where an earlier cluster has the same classes, the last-ranked are replaced by the next ones until the subset is
    new.
    """
    taken: dict[tuple[int, ...], None] = {}
    for order in ranked.tolist():
        taken[next(subset for subset in _by_rank(order, size) if subset not in taken)] = None
    return torch.tensor(list(taken))


def _by_rank(order: list[int], size: int) -> Iterable[tuple[int, ...]]:
    """Return all subsets of a size, those with the first-ranked classes first."""
    return (tuple(sorted(subset)) for subset in combinations(order, size))
