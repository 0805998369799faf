"""Numbers of the paper that are not claims of their own."""

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

# Table 2: classes of three of the specialists.
CLUSTERS = (
    ("Tea party", "Easter", "Bridal shower", "Baby shower", "Easter Bunny"),
    ("Bridge", "Cable-stayed bridge", "Suspension bridge", "Viaduct", "Chimney"),
    ("Toyota Corolla E100", "Opel Signum", "Opel Astra", "Mazda Familia"),
)
