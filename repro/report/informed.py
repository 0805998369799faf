"""Choices of the committed recipes that were made after test results were known, for the remarks of their claims."""

INFORMED = "informed by test: "  # begins the remark
# Text by experiment, by experiment and data set, by claim, or by claim and data set; empty where nothing was informed.
TEXTS = {
    "mnist": "the teacher's recipe was searched on validation after the test errors of an earlier one were known",
    "mnist.baseline_errors": "",
    "mnist.distilled_errors": "recipes of teacher and student were searched on validation after the test errors of "
    "earlier ones were known",
    "mnist.gap_closed": "recipes of teacher and student were searched on validation after the test errors of earlier "
    "ones were known",
    "speech": "training was lengthened after the test accuracy of a shorter recipe was known",
    "speech/speechocean762": "the recipe was searched on validation speakers after the test accuracy of an "
    "earlier one was known",
    "specialists/letters": "the width of two channels was chosen on validation after the test gain at eight was known",
    "specialists.distilled_back/icons": "the recipe was searched on validation images after the test accuracy of an "
    "earlier one was known",
    "specialists.distilled_back/cifar100": "length and weight were changed after the test accuracy of others was known",
}


def informed_by_test(claim: str, dataset: str) -> str:
    """Return what about a claim of a committed profile was informed by test data; empty if nothing was."""
    experiment = claim.partition(".")[0]
    names = (f"{claim}/{dataset}", claim, f"{experiment}/{dataset}", experiment)
    text = next((TEXTS[name] for name in names if name in TEXTS), "")
    return f"{INFORMED}{text}" if text else ""
