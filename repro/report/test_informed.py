"""Choices of the committed recipes that were made after test errors had been seen, for the remarks of their claims."""

SPEECH = "the recipe was made longer after test accuracy had been seen"

# Text by id of the claim, or by its experiment.
TEXTS = {
    "speech": SPEECH,
}


def test_informed(claim: str) -> str:
    """Return what about a claim of a committed profile was informed by test data; empty if nothing was."""
    text = TEXTS.get(claim) or TEXTS.get(claim.partition(".")[0], "")
    return f"informed by test: {text}" if text else ""
