"""Choices of the committed recipes that were made after test errors had been seen, for the remarks of their claims."""

# Text by experiment, by experiment and data set, or by claim and data set.
TEXTS = {
    "mnist": "recipes were searched, on validation images, after the test errors of earlier ones were seen",
    "speech": "the recipe was made longer after test accuracy had been seen",
    "speech/speechocean762": "searched, on validation speakers, after the test accuracy of others was seen",
    "specialists/letters": "two channels were chosen by validation accuracy after the test gain of eight had been seen",
    "specialists.distilled_back/icons": "searched, on validation images, after the test accuracy of others was seen",
    "specialists.distilled_back/cifar100": "length and weight were changed after the test accuracy of others was seen",
}


def test_informed(claim: str, dataset: str) -> str:
    """Return what about a claim of a committed profile was informed by test data; empty if nothing was."""
    experiment = claim.partition(".")[0]
    text = next(
        (TEXTS[name] for name in (f"{claim}/{dataset}", f"{experiment}/{dataset}", experiment) if name in TEXTS), ""
    )
    return f"informed by test: {text}" if text else ""
