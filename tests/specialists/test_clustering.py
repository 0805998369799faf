"""Clustering of classes (section 5.3), tested on predictions with planted blocks of confused classes."""

import inspect

import numpy as np
import pytest
import torch

from repro.errors import UserError
from repro.specialists import clustering

CLASSES, BLOCKS = 60, 6
BLOCK_OF = torch.arange(CLASSES) % BLOCKS
PLANTED = {tuple(range(block, CLASSES, BLOCKS)) for block in range(BLOCKS)}


def predictions(seed: int = 0, cases: int = 6000) -> torch.Tensor:
    """Return predictions of a generalist that confuses the classes of a block and is right in over half of the cases.

    Some classes are much more frequent than others.
    """
    draw = torch.Generator().manual_seed(seed)
    frequency = torch.exp(0.7 * torch.randn(CLASSES, generator=draw))
    truth = torch.multinomial(frequency, cases, replacement=True, generator=draw)
    logits = torch.randn(cases, CLASSES, generator=draw) + 3.0 * (BLOCK_OF[truth][:, None] == BLOCK_OF)
    logits[torch.arange(cases), truth] += 2.0
    assert 0.5 < float((logits.argmax(-1) == truth).double().mean()) < 0.9
    return logits.softmax(-1)


@pytest.fixture(scope="module")
def probabilities() -> torch.Tensor:
    return predictions()


def as_set(subsets: torch.Tensor) -> set[tuple[int, ...]]:
    return {tuple(subset) for subset in subsets.tolist()}


def assert_well_formed(subsets: torch.Tensor, clusters: int, size: int) -> None:
    assert subsets.shape == (clusters, size) and subsets.dtype == torch.int64
    assert bool((subsets.diff(dim=1) > 0).all()), "sorted, and no class twice"
    assert int(subsets.min()) >= 0 and int(subsets.max()) < CLASSES
    assert len(as_set(subsets)) == clusters, "no two the same"


@pytest.mark.parametrize("block", [1000, 4096, 6000])
def test_covariance_equals_numpy(probabilities, block):
    expected = np.cov(probabilities.double().numpy(), rowvar=False)
    np.testing.assert_allclose(clustering.covariance(probabilities.double(), block), expected, rtol=1e-10, atol=1e-16)
    np.testing.assert_allclose(clustering.covariance(probabilities, block), expected, rtol=1e-4, atol=1e-8)


def test_no_function_takes_labels():
    for _, function in inspect.getmembers(clustering, inspect.isfunction):
        assert not any("label" in name or "target" in name for name in inspect.signature(function).parameters)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("algorithm", ["k-means", "spectral"])
def test_planted_blocks_are_recovered(algorithm, seed):
    subsets = clustering.assign(algorithm, predictions(seed), BLOCKS, CLASSES // BLOCKS, seed)
    assert as_set(subsets) == PLANTED


def test_variances_hide_the_blocks(probabilities):
    """With the diagonal, k-means groups frequent classes instead of confused ones."""
    covariance = clustering.covariance(probabilities)
    columns = clustering.confusion_columns(covariance, scaled=False, diagonal=True)
    assert torch.equal(columns, covariance)
    centroids = clustering.online_k_means(columns, BLOCKS, seed=0)
    assert as_set(clustering.subsets_from_centroids(columns, centroids, CLASSES // BLOCKS)) != PLANTED


def test_two_classes_confused_only_with_each_other_have_the_same_column():
    covariance = torch.eye(4) * torch.tensor([1.0, 4.0, 9.0, 1.0])
    covariance[0, 1] = covariance[1, 0] = 0.5
    columns = clustering.confusion_columns(covariance)
    torch.testing.assert_close(columns[0], columns[1])
    torch.testing.assert_close(columns.norm(dim=1), torch.tensor([1.0, 1.0, 0.0, 0.0]))


def test_centroid_is_the_mean_of_its_columns():
    points = torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    centroid = clustering.online_k_means(points, clusters=1, seed=0, passes=4)
    start = (4 * 50 + 1) * centroid - 4 * points.sum(0)  # the remainder is the initial point
    assert float((points - start).norm(dim=1).min()) < 1e-9


def test_k_means_has_a_centroid_in_each_well_separated_cluster():
    draw = torch.Generator().manual_seed(0)
    centers = 10.0 * torch.eye(8)
    points = centers.repeat_interleave(25, dim=0) + 0.1 * torch.randn(200, 8, generator=draw)
    for seed in range(5):
        centroids = clustering.online_k_means(points, clusters=8, seed=seed)
        assert float(torch.cdist(centers, centroids).amin(1).max()) < 0.2


@pytest.mark.parametrize("algorithm", ["k-means", "spectral", "random"])
def test_subsets_overlap_and_have_the_given_size(probabilities, algorithm):
    for clusters, size in ((9, 15), (4, 5), (CLASSES, 2), (CLASSES - 1, CLASSES - 1)):
        subsets = clustering.assign(algorithm, probabilities, clusters, size, seed=0)
        assert_well_formed(subsets, clusters, size)
    memberships = torch.bincount(clustering.assign(algorithm, probabilities, 9, 15, 0).flatten(), minlength=CLASSES)
    assert int(memberships.max()) > 1


@pytest.mark.parametrize("algorithm", ["k-means", "spectral", "random"])
def test_subsets_depend_only_on_the_seed(probabilities, algorithm):
    first, again = (clustering.assign(algorithm, probabilities, 9, 15, seed=3) for _ in range(2))
    assert torch.equal(first, again)
    if algorithm != "spectral":  # it finds the same clusters from most initial states
        assert not torch.equal(first, clustering.assign(algorithm, probabilities, 9, 15, seed=4))


def test_each_subset_contains_a_block_or_is_part_of_one(probabilities):
    """A subset larger than a block contains the block; a smaller one is part of a block."""
    for algorithm in ("k-means", "spectral"):
        for size in (7, 14):
            subsets = clustering.assign(algorithm, probabilities, BLOCKS, size, seed=0)
            counts = torch.stack([torch.bincount(BLOCK_OF[subset], minlength=BLOCKS).amax() for subset in subsets])
            assert counts.tolist() == [min(size, CLASSES // BLOCKS)] * BLOCKS


def test_equal_centroids_have_different_subsets():
    columns = torch.arange(5.0)[:, None]
    subsets = clustering.subsets_from_centroids(columns, torch.zeros(3, 1), size=3)
    assert subsets.tolist() == [[0, 1, 2], [0, 1, 3], [0, 1, 4]]


def test_random_subsets_contain_all_classes_equally_often():
    subsets = clustering.random_subsets(20, 20, 5, seed=0)
    many = torch.cat([clustering.random_subsets(20, 20, 5, seed=seed) for seed in range(100)])
    counts = torch.bincount(many.flatten(), minlength=20)
    assert subsets.shape == (20, 5) and int(counts.min()) > 420 and int(counts.max()) < 580


@pytest.mark.parametrize("algorithm", ["k-means", "spectral"])
def test_classes_that_are_never_predicted_are_supported(algorithm):
    probabilities = predictions(cases=3000)
    probabilities[:, -3:] = 0
    assert_well_formed(clustering.assign(algorithm, probabilities, 8, 10, seed=0), 8, 10)


@pytest.mark.parametrize(
    ("algorithm", "clusters", "size", "message"),
    [
        ("k-means", 61, 10, "setting specialists.count: must be 1 to 60"),
        ("k-means", 0, 10, "setting specialists.count: must be 1 to 60"),
        ("random", 5, 61, "setting specialists.classes_per_specialist: must be at most 59"),
        ("spectral", 5, 60, "setting specialists.classes_per_specialist: must be at most 59"),
        ("k-means", 5, 1, "setting specialists.classes_per_specialist: must be at least 2 classes, not 1"),
        ("guess", 5, 10, "setting specialists.clustering: must be k-means, spectral or random, not 'guess'"),
    ],
)
def test_invalid_settings_are_named_in_one_line(probabilities, algorithm, clusters, size, message):
    with pytest.raises(UserError) as error:
        clustering.assign(algorithm, probabilities, clusters, size, seed=0)
    assert str(error.value).startswith(message) and "\n" not in str(error.value)
