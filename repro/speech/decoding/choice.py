"""Choice of acoustic scale and vocabulary by word error rates on validation."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

ScaleAndWords = tuple[float, int]  # acoustic scale, and words of general English in the vocabulary


def word_error_rates(records: Iterable[dict[str, Any]]) -> dict[ScaleAndWords, list[float]]:
    """Return each model's word error rate on validation, by acoustic scale and words of general English."""
    rates: dict[ScaleAndWords, list[float]] = {}
    for record in records:
        for scale, of_models in record["metrics"]["rates"]:
            rates.setdefault((scale, record["settings"]["general_words"]), []).extend(of_models)
    return rates


def best_decoder(rates: Mapping[ScaleAndWords, Sequence[float]]) -> ScaleAndWords:
    """Return acoustic scale and vocabulary with the fewest errors in the mean over the models; ties: the smaller."""
    return min(rates, key=lambda of: (fmean(rates[of]), of))
