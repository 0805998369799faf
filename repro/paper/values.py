"""Numbers of the paper that are not claims of their own, and Table 4, which several claims are made from."""

NARROW_RANGE = (2.5, 4.0)

WIDE_SIMILAR_ABOVE = 8.0

TEST_THREES = 1010

# Section 3: (bias shift, test errors) without 3s and with 7s and 8s only.
NO3_POINTS = ((0.0, 206), (3.5, 109))
ONLY78_POINTS = ((0.0, 4730), (-7.6, 1320))

# Section 5, Table 4: by number of specialists that cover the right class (the last: 10 or more), test images
# and the change in how many are right.
COVER_EXAMPLES = (350037, 141993, 67161, 38801, 26298, 16474, 10682, 7376, 4703, 4706, 9082)

COVER_CHANGES = (0, 1421, 1572, 1124, 835, 561, 362, 232, 182, 208, 324)

# The relative gain in percent.
COVER_GAINS = (0.0, 3.4, 7.4, 8.8, 10.5, 11.1, 11.3, 12.8, 13.6, 16.6, 14.1)


def _cover_slope() -> float:
    """Return the slope of Table 4's relative gain on the number of specialists, in percent per specialist.

    Each row has the weight of its images that were right before, as in our slope: the change divided by the gain. The
    first row has neither; it is taken to have the accuracy of Table 3, 25% (20% or 30% give 1.94 or 2.00).
    """
    rows = list(zip(COVER_CHANGES[1:], COVER_GAINS[1:], strict=True))
    right = [0.25 * COVER_EXAMPLES[0], *(100 * change / gain for change, gain in rows)]
    mean = sum(number * weight for number, weight in enumerate(right)) / sum(right)
    spread = sum(weight * (number - mean) ** 2 for number, weight in enumerate(right))
    weighted = zip(right, COVER_GAINS, strict=True)
    return sum(weight * (number - mean) * gain for number, (weight, gain) in enumerate(weighted)) / spread


COVER_SLOPE = round(_cover_slope(), 2)

# Table 2: classes of three of the specialists.
CLUSTERS = (
    ("Tea party", "Easter", "Bridal shower", "Baby shower", "Easter Bunny"),
    ("Bridge", "Cable-stayed bridge", "Suspension bridge", "Viaduct", "Chimney"),
    ("Toyota Corolla E100", "Opel Signum", "Opel Astra", "Mazda Familia"),
)
