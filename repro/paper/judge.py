"""Verdicts: the rule by which our result is judged against the paper's figure."""

from enum import StrEnum

from repro.paper.claims import Claim


class Direction(StrEnum):
    """Whether the effect that a claim is about is there.

    HOLDS: its 95% interval excludes zero on the paper's side. ABSENT: the interval excludes the paper's effect, and
    does not exclude zero on the paper's side. UNDECIDED: the interval contains both the paper's effect and none.
    """

    HOLDS = "holds"
    ABSENT = "absent"
    UNDECIDED = "undecided"


class Verdict(StrEnum):
    """Verdicts on our results, in the order in which they are counted."""

    REPRODUCED = "reproduced"
    EXCEEDS = "exceeds"
    DIRECTION = "direction holds"
    UNDECIDED = "undecided"
    ABSENT = "not reproduced"
    SHOWN = "shown"


Interval = tuple[float, float]


def direction_of(low: float | None, high: float | None, paper_effect: float) -> Direction | None:
    """Return whether an effect is there, from its 95% interval; None without one.

    Args:
        low: lower end of the interval. The sign of the effect is such that the paper's is positive.
        high: upper end.
        paper_effect: the paper's effect, or the smallest that matters where it prints no number.
    """
    if low is None or high is None:
        return None
    if low > 0:
        return Direction.HOLDS
    return Direction.ABSENT if high < paper_effect else Direction.UNDECIDED


def all_of(*directions: Direction | None) -> Direction | None:
    """Return whether all of several effects are there: absent if one is, else undecided if one is."""
    if None in directions:
        return None
    for answer in (Direction.ABSENT, Direction.UNDECIDED):
        if answer in directions:
            return answer
    return Direction.HOLDS


def judge(
    claim: Claim,
    value: float,
    run: Interval | None,
    direction: Direction | None,
    seeds: int = 2,
    interval: Interval | None = None,
) -> Verdict:
    """Return the verdict on our result, by the claim's rule.

    What one seed gives is shown and not judged, unless the claim needs no more; nor is what has no interval to tell
    whether its direction holds.

    Args:
        claim: the claim.
        value: our estimate.
        run: 95% prediction interval for one more run, which the paper's figure is; None where there is none.
        direction: whether the effect is there; None if the records cannot tell.
        seeds: number of networks behind the estimate.
        interval: 95% interval of our estimate, which claims of rule ``interval`` need.
    """
    if claim.rule == "shown" or direction is None or seeds < claim.seeds:
        return Verdict.SHOWN
    if direction is not Direction.HOLDS:
        return Verdict.UNDECIDED if direction is Direction.UNDECIDED else Verdict.ABSENT
    if claim.has_figure_to_meet:
        judged = run if claim.rule == "figure" else interval
        return Verdict.SHOWN if judged is None else _against_figure(claim, *judged)
    if claim.paper_range is not None:
        least, most = claim.paper_range
        return Verdict.REPRODUCED if least <= value <= most else Verdict.DIRECTION
    return Verdict.REPRODUCED if isinstance(claim.paper, str) else Verdict.DIRECTION


def _against_figure(claim: Claim, low: float, high: float) -> Verdict:
    """Judge the paper's figure by the 95% interval in which it should lie."""
    if low <= claim.figure <= high:
        return Verdict.REPRODUCED if high - low <= claim.widest else Verdict.UNDECIDED
    is_better = (claim.better == "lower" and high < claim.figure) or (claim.better == "higher" and low > claim.figure)
    return Verdict.EXCEEDS if is_better else Verdict.DIRECTION
