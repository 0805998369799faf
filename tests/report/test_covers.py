"""Table 4: slopes and rank correlation of made-up gains, which rows are large enough, and the verdict on the slope."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from repro import paper
from repro.report.specialists import covers, findings, tables
from repro.report.specialists.analysis import Gain

IMAGES = 40  # of each class


def made_up(covering, before, after) -> Gain:
    """The gain of classes of 40 images, of which ``before`` and then ``after`` are right: arrays (seed, class)."""
    number, *right = (np.atleast_2d(values) for values in (covering, before, after))
    labels = np.repeat(np.arange(number.shape[1]), IMAGES)
    place = np.tile(np.arange(IMAGES), number.shape[1])
    first, second = ((place < counts[:, labels]).astype(int) for counts in right)
    return Gain((first, second), (first, second), number[:, labels], labels)


def test_the_slope_is_that_of_a_straight_line_with_any_weights():
    """The gain is 10% and 5% more for each specialist; 12 specialists are counted as 10."""
    number = np.tile([0, 1, 2, 4, 12], (6, 4))
    before = np.tile([20, 20, 10, 20, 20], (6, 4)) + np.repeat([0, 0, 0, 10], 5) * (number == 2)
    slope = covers.slope(made_up(number, before, before + before * (2 + np.minimum(number, 10)) // 20))
    assert [slope.value, slope.low, slope.high] == pytest.approx([5.0] * 3) and slope.count == 6


def test_rows_have_the_weight_of_their_images_that_were_right():
    """The middle one of three rows is off the line; the slope is that of weighted least squares."""
    number, before, after = np.array([0, 1, 3, 3]), np.array([30, 10, 10, 10]), np.array([30, 15, 11, 12])
    gains = 100 * np.array([0, 5 / 10, 3 / 20])
    line = np.polyfit([0, 1, 3], gains, 1, w=np.sqrt([30, 10, 20]))
    assert covers.slope(made_up(number, before, after)).value == pytest.approx(line[0])


def test_class_fixed_effects_ignore_what_classes_gain_for_other_reasons():
    """Well covered classes gain more, but each class gains one image, 2.5 points, for each specialist."""
    number = np.tile([[0, 1, 5, 6, 6, 7], [1, 2, 7, 5, 8, 7]], (3, 2))
    of_class = np.tile([0, 0, 10, 10, 12, 12], 2)
    change = made_up(number, np.full((6, 12), 10), 10 + of_class + number)
    within = covers.slope_within_classes(change)
    assert [within.value, within.low, within.high] == pytest.approx([2.5] * 3)
    assert covers.slope(change).value > 2 * 10, "of 10 right, one more is 10%"
    assert covers.slope_within_classes(made_up(number[:1], [10] * 12, [12] * 12)) is None, "a single seed"


def test_rows_need_images_and_classes():
    number = np.array([0] * 5 + [1] * 4 + [2] * 5 + [3] * 6)
    before = np.full(20, 10)
    before[9:14] = 0
    rows = covers.covers(made_up(number, before, before + number))
    assert [row.classes for row in rows[:4]] == [5, 4, 5, 6]
    assert [row.is_large for row in rows[:5]] == [True, False, False, True, False], "4 classes; nothing right; no image"
    two_seeds = np.array([[0] * 5 + [1] * 5, [0] * 5 + [0] * 5])
    rows = covers.covers(made_up(two_seeds, np.full((2, 10), 10), np.full((2, 10), 11)))
    assert rows[0].is_large and rows[1].classes == 5 and rows[1].images.tolist() == [5 * IMAGES, 0]
    assert [row.is_large for row in covers.covers(made_up([1] * 5, [1] * 5, [1] * 5))][:2] == [False, True]


def test_ranks_are_of_large_rows_only():
    number = np.repeat([0, 1, 2, 3], [5, 5, 5, 1])
    gained = np.repeat([0, 2, 1, 9], [5, 5, 5, 1])
    change = made_up(number, np.full(16, 10), 10 + gained)
    assert covers.rank_correlation(change) == pytest.approx(spearmanr([0, 1, 2], [0, 2, 1]).statistic)
    assert covers.rank_correlation(made_up([0] * 5 + [1] * 5, [10] * 10, [11] * 10)) is None


def random_gain(slope: float, noise: float, seeds: int = 6) -> Gain:
    """Gains of 60 classes, of 20 images right before, with a slope in percent per specialist and noise in images."""
    draw = np.random.default_rng(0)
    number = np.tile(np.arange(6), (seeds, 10))
    gained = 20 * slope * number / 100 + noise * draw.normal(size=60)
    return made_up(number, np.full((seeds, 60), 20), (20 + gained.round()).astype(int).clip(0, IMAGES))


@pytest.mark.parametrize(
    ("change", "direction", "verdict"),
    [
        (random_gain(5.0, 1.0), "holds", "exceeds"),
        (random_gain(1.97, 1.0), "holds", "reproduced"),
        (random_gain(1.0, 0.5), "holds", "direction holds"),
        (random_gain(0.0, 1.0), "absent", "not reproduced"),
        (random_gain(1.0, 9.0), "undecided", "undecided"),
        (random_gain(-5.0, 1.0), "absent", "not reproduced"),
    ],
)
def test_a_slope_is_undecided_if_both_zero_and_the_papers_are_in_the_interval(change, direction, verdict):
    (finding,) = findings._slope(change)
    assert finding.direction == direction
    ours, claim = finding.ours, paper.BY_ID[finding.claim]
    assert paper.judge(claim, ours.value, None, finding.direction, interval=(ours.low, ours.high)) == verdict


def test_records_without_labels_give_a_slope_without_interval():
    change = random_gain(5.0, 1.0)
    unlabeled = Gain(change.right, change.within, change.covering, np.zeros_like(change.labels))
    (finding,) = findings._slope(unlabeled)
    assert finding.ours.value == pytest.approx(covers.slope(change).value)
    assert finding.ours.low is None and finding.direction is None
    assert findings._covers(unlabeled) == [] and tables._over_classes(unlabeled, *change.right) == "–"


def test_the_papers_slope_follows_from_its_table():
    """The images right before are those of the change and of the gain; the first row's hardly matter."""
    rows = np.arange(11)
    right = np.array([1, *(100 * np.array(paper.COVER_CHANGES[1:]) / paper.COVER_GAINS[1:])])
    for accuracy in (0.2, 0.25, 0.3):
        right[0] = accuracy * paper.COVER_EXAMPLES[0]
        line = np.polyfit(rows, paper.COVER_GAINS, 1, w=np.sqrt(right))
        assert abs(line[0] - paper.BY_ID["specialists.cover_trend"].figure) < (0.005 if accuracy == 0.25 else 0.035)
    assert paper.BY_ID["specialists.baseline_acc"].figure == 25
    assert round(covers.rank_correlation_of_paper(), 2) == 0.99
