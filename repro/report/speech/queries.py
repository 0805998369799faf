"""Records of sections 4 and 6 by arm, and the accuracies and word errors in them."""

from dataclasses import dataclass

import numpy as np

from repro.evaluation.bootstrap import Counts
from repro.report.query import select
from repro.report.records import Record
from repro.speech.decoding.wer import WordErrors
from repro.speech.runs import Arm

PAPER_FRACTION = 0.03  # section 6's fraction of the data


@dataclass(frozen=True)
class CorrectFrames:
    """Correct frames of each speaker for each model of a system, and the number of frames of each speaker."""

    counts: Counts
    cases: np.ndarray


def correct_frames(records: list[Record], part: str = "test") -> CorrectFrames:
    """Return the correct frames of a system's models, of which there is at least one.

    Args:
        part: "test", "validation", or "stopped_test" for the models as early stopping leaves them.
    """
    right = np.array([record["metrics"][f"{part}_speaker_right"] for record in records])
    cases = records[0]["metrics"][f"{part.removeprefix('stopped_')}_speaker_cases"]
    return CorrectFrames(Counts(right, tuple(record["seed"] for record in records)), np.array(cases))


def accuracy(records: list[Record], part: str = "test") -> list[float]:
    """Return each model's frame accuracy in percent; ``part`` as in ``correct_frames``, or "train"."""
    return [100 * record["metrics"][f"{part}_right"] / record["metrics"][f"{part}_cases"] for record in records]


def count_models(records: list[Record]) -> int:
    """Return the number of models behind some records: an ensemble's record counts all of its models."""
    return sum(record["metrics"].get("nets", 1) for record in records)


def single_models(records: list[Record]) -> list[Record]:
    """Return the models of the ensemble, each a baseline."""
    return select(records, Arm.SINGLE_MODEL)


def ensemble(records: list[Record], size: int | None = None, mean: str = "arithmetic") -> list[Record]:
    """Return the record of the mean of the first ``size`` models, by default of all."""
    means = select(records, Arm.ENSEMBLE, mean=mean)
    if not means:
        return []
    wanted = size or max(record["metrics"]["nets"] for record in means)
    return [record for record in means if record["metrics"]["nets"] == wanted]


def ensemble_sizes(records: list[Record]) -> list[int]:
    """Return the sizes of the evaluated ensembles in ascending order."""
    return sorted({record["metrics"]["nets"] for record in select(records, Arm.ENSEMBLE)})


def distilled_from(records: list[Record], size: int) -> list[Record]:
    """Return the students of the first ``size`` models."""
    if size == max(ensemble_sizes(records)):
        return distilled(records)
    return select(records, Arm.SMALLER_ENSEMBLE, num_teachers=size)


def temperatures(records: list[Record], arm: str = Arm.DISTILLED, **params: str) -> list[float]:
    """Return the temperatures of an arm in ascending order, by default of Table 1's students."""
    return sorted({float(record["settings"]["temperature"]) for record in select(records, arm, **params)})


def distilled(records: list[Record], temperature: float | None = None) -> list[Record]:
    """Return Table 1's students of a temperature, by default of the one that is best on validation."""
    chosen = best_temperature(records) if temperature is None else temperature
    return [] if chosen is None else select(records, Arm.DISTILLED, temperature=chosen)


def alike_distilled(records: list[Record]) -> dict[float, list[Record]]:
    """Return Table 1's students by temperature, those whose seeds every temperature has; empty without any.

    Further students at the best temperature are trained after it was chosen, so that comparisons leave them out.
    """
    by_seed = [{record["seed"]: record for record in distilled(records, t)} for t in temperatures(records)]
    seeds = sorted(set.intersection(*map(set, by_seed))) if by_seed else []
    of_each = zip(temperatures(records), by_seed, strict=True)
    return {t: [students[seed] for seed in seeds] for t, students in of_each if seeds}


def best_temperature(records: list[Record]) -> float | None:
    """Return the temperature whose students have the most correct validation frames; None without students."""
    scores = {t: np.mean(accuracy(students, "validation")) for t, students in alike_distilled(records).items()}
    return max(scores, key=scores.__getitem__) if scores else None


def data_fractions(records: list[Record]) -> list[float]:
    """Return the fractions of the data that models were trained on, in ascending order, without all data."""
    return sorted({float(record["settings"]["fraction"]) for record in select(records, Arm.DATA_FRACTION)})


def on_fraction(records: list[Record], targets: str, fraction: float) -> list[Record]:
    """Return the models trained on a fraction of the data; ``targets`` is "hard" or "soft".

    Of schedules of several lengths it is the one whose early-stopped models have the most correct validation frames.
    """
    by_length = schedules(records, targets, fraction)
    return max(by_length.values(), key=lambda nets: np.mean(accuracy(nets, "stopped_validation")), default=[])


def schedules(records: list[Record], targets: str, fraction: float) -> dict[float, list[Record]]:
    """Return the models trained on a fraction of the data by the length of their schedule in epochs, ascending.

    Lengths that have not been trained with all seeds yet are left out.
    """
    by_length: dict[float, list[Record]] = {}
    for record in select(records, Arm.DATA_FRACTION, targets=targets, fraction=fraction):
        by_length.setdefault(float(record["settings"]["recipe"]["epochs"]), []).append(record)
    most = max((len(nets) for nets in by_length.values()), default=0)
    return {epochs: by_length[epochs] for epochs in sorted(by_length) if len(by_length[epochs]) == most}


def longest_schedule(records: list[Record], targets: str, fraction: float) -> list[Record]:
    """Return the models trained on a fraction of the data for most epochs."""
    return next(reversed(schedules(records, targets, fraction).values()), [])


def word_errors(records: list[Record], system: str, **settings: float) -> list[WordErrors]:
    """Return the word errors of each decoding with a system: "single", "ensemble", "distilled" or "stock"."""
    return [WordErrors(*(np.array(record["metrics"][f"test_{name}"]) for name in
                         ("substitutions", "deletions", "insertions", "words")))
            for record in select(records, Arm.DECODE, system=system, **settings)]  # fmt: skip


def speakers(records: list[Record]) -> list[str]:
    """Return the speaker of each decoded utterance."""
    return select(records, Arm.DECODE)[0]["metrics"]["test_speakers"]


def lost_at_end(record: Record) -> float:
    """Return the points of test frame accuracy lost from a model's best evaluation to its last."""
    test = [evaluation[3] for evaluation in record["curve"]]
    return max(test) - test[-1]
