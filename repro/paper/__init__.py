"""Every number the paper prints, once, with the rule that judges ours against it.

``claims`` holds the claims and their verdicts, ``values`` numbers that are not claims, ``later_work`` what the
literature reports for the variants. Nothing of ours is here.
"""

from repro.paper.claims import BY_ID, CLAIMS, EQUIVALENT_ERRORS, TITLE, Claim
from repro.paper.judge import Direction, Verdict, all_of, direction_of, judge
from repro.paper.later_work import VARIANTS, VariantFigure
from repro.paper.values import (
    CLUSTERS,
    COVER_CHANGES,
    COVER_EXAMPLES,
    COVER_GAINS,
    COVER_SLOPE,
    NARROW_RANGE,
    NO3_POINTS,
    ONLY78_POINTS,
    TEST_THREES,
    WIDE_SIMILAR_ABOVE,
)

__all__ = [
    "BY_ID", "CLAIMS", "CLUSTERS", "COVER_CHANGES", "COVER_EXAMPLES", "COVER_GAINS", "COVER_SLOPE", "EQUIVALENT_ERRORS",
    "NARROW_RANGE", "NO3_POINTS", "ONLY78_POINTS", "TEST_THREES", "TITLE", "VARIANTS", "WIDE_SIMILAR_ABOVE", "Claim",
    "Direction", "VariantFigure", "Verdict", "all_of", "direction_of", "judge",
]  # fmt: skip
