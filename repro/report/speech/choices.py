"""Tables of what is chosen on validation: recipes, acoustic scale and vocabulary."""

from statistics import fmean

import pandas as pd

from repro.report.query import select
from repro.report.records import Record
from repro.report.searches import search_table
from repro.speech.decoding.choice import best_decoder, word_error_rates
from repro.speech.runs import Arm

Records = list[Record]


def search(records: Records) -> pd.DataFrame:
    """Return the candidates of each stage of the search for recipes; the best of each is marked."""
    return search_table(select(records, Arm.SEARCH), lambda group: -sum(_accuracies(group)), _accuracies)


def _accuracies(group: Records) -> list[float]:
    measured = [record["metrics"] for record in group]
    return [100 * metrics["validation_right"] / metrics["validation_cases"] for metrics in measured]


def acoustic_scale(records: Records) -> pd.DataFrame:
    """Return word error rates on validation by acoustic scale and vocabulary; the best is used for all systems."""
    runs = select(records, Arm.ACOUSTIC_SCALE)
    about = {record["settings"]["general_words"]: record["metrics"] for record in runs}
    rates = word_error_rates(runs)
    best = best_decoder(rates) if rates else None
    return pd.DataFrame([
        {
            "words of general English": f"{words:,}",
            "vocabulary": f"{about[words]['vocabulary']:,}",
            "validation words outside it": f"{about[words]['unknown_words']:,}",
            "perplexity": f"{about[words]['perplexity']:,}", "acoustic scale": f"{scale:g}",
            "WER": f"{100 * fmean(of_models):.2f}",
            "each model": " ".join(f"{100 * rate:.2f}" for rate in of_models),
            "validation utterances": about[words]["utterances"],
            "chosen": "yes" if (scale, words) == best else "",
        }
        for (scale, words), of_models in sorted(rates.items(), key=lambda item: (item[0][1], item[0][0]))
    ])  # fmt: skip
