"""Tables of what is chosen on validation: recipes, acoustic scale and vocabulary."""

import pandas as pd

from repro.evaluation import stats
from repro.report.query import select
from repro.report.records import Record
from repro.report.searches import search_table
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
    rows, runs = [], select(records, Arm.ACOUSTIC_SCALE)
    means = {(record["key"], scale): stats.mean_interval([100 * rate for rate in rates])
             for record in runs for scale, rates in record["metrics"]["rates"]}  # fmt: skip
    best = min(means, key=lambda of: (means[of].value, of[1]), default=None)
    for record in runs:
        metrics = record["metrics"]
        for scale, rates in metrics["rates"]:
            rows.append({
                "words of general English": f"{record['settings']['general_words']:,}",
                "vocabulary": f"{metrics['vocabulary']:,}",
                "validation words outside it": f"{metrics['unknown_words']:,}",
                "perplexity": f"{metrics['perplexity']:,}", "acoustic scale": f"{scale:g}",
                "WER": f"{means[record['key'], scale].value:.2f}",
                "each model": " ".join(f"{100 * rate:.2f}" for rate in rates),
                "validation utterances": metrics["utterances"],
                "chosen": "yes" if (record["key"], scale) == best else "",
            })  # fmt: skip
    return pd.DataFrame(rows)
