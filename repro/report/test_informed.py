"""Choices of the committed recipes that were made after test errors had been seen, for the remarks of their claims."""

# Text by experiment, by experiment and data set, by claim, or by claim and data set; empty where nothing was informed.
TEXTS = {
    "mnist": "the teacher's recipe was searched, on validation, after the test errors of an earlier one were seen",
    "mnist.baseline_errors": "",
    "mnist.distilled_errors": "searched, as the teacher's recipe, on validation, after the test errors of earlier ones "
    "were seen",
    "mnist.gap_closed": "recipes of teacher and student were searched, on validation, after the test errors of earlier "
    "ones were seen",
    "speech": "the recipe was made longer after test accuracy had been seen",
    "speech/speechocean762": "searched, on validation speakers, after the test accuracy of others was seen",
    "specialists/letters": "two channels were chosen by validation accuracy after the test gain of eight had been seen",
    "specialists.distilled_back/icons": "searched, on validation images, after the test accuracy of others was seen",
    "specialists.distilled_back/cifar100": "length and weight were changed after the test accuracy of others was seen",
}


def test_informed(claim: str, dataset: str) -> str:
    """Return what about a claim of a committed profile was informed by test data; empty if nothing was."""
    experiment = claim.partition(".")[0]
    names = (f"{claim}/{dataset}", claim, f"{experiment}/{dataset}", experiment)
    text = next((TEXTS[name] for name in names if name in TEXTS), "")
    return f"informed by test: {text}" if text else ""
