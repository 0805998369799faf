"""Tables of sections 4 and 6 with the paper's figures beside ours, from the records alone."""

import math
from collections.abc import Callable

import pandas as pd

from repro import paper
from repro.evaluation import stats
from repro.evaluation.stats import Estimate
from repro.models.flops import count_parameters
from repro.report.query import interval, percent, select, signed
from repro.report.records import Record
from repro.report.speech import analysis, choices, queries
from repro.speech.alignment import STATES
from repro.speech.decoding import wer
from repro.speech.features import INPUTS
from repro.speech.runs import Arm

Records = list[Record]
NONE = "–"
STORAGE = {"per batch": "computed per batch, not stored", "fp16": "all logits in fp16"}
TRANSCRIPT_LABELS = {
    Arm.SINGLE_MODEL_FEW_TRANSCRIPTS: "single model, {} transcripts",
    Arm.ENSEMBLE_FEW_TRANSCRIPTS: "ensemble, {} transcripts",
    Arm.KD_TRANSCRIBED_ONLY: "KD, transcribed only",
    Arm.KD_WITH_UNTRANSCRIBED: "KD, with untranscribed speech",
}


def table1(records: Records) -> pd.DataFrame:
    """Return Table 1: frame accuracy and word error rate of single models, the ensemble and the students."""
    singles = queries.single_models(records)
    if not singles:
        return pd.DataFrame()
    best = queries.best_temperature(records)
    rows = [
        _row(records, "single model", singles, queries.word_errors(records, "single"), "baseline"),
        _row(records, "ensemble", queries.ensemble(records), queries.word_errors(records, "ensemble"), "ensemble"),
        _row(records, "ensemble, geometric mean", queries.ensemble(records, mean="geometric"), []),
    ]
    for t in queries.temperatures(records):
        name = f"KD, T = {t:g}" + (" (chosen on validation)" if t == best else "")
        errors = queries.word_errors(records, "distilled", temperature=t)
        rows.append(_row(records, name, queries.distilled(records, t), errors, "distilled" if t == best else ""))
    arithmetic = select(records, Arm.DISTILLED_ARITHMETIC_MEAN)
    if arithmetic:
        t = float(arithmetic[0]["settings"]["temperature"])
        rows.append(_row(records, f"KD from the arithmetic mean, T = {t:g}", arithmetic, []))
    rows.append(_row(records, "pocketsphinx's own acoustic model", [], queries.word_errors(records, "stock")))
    return pd.DataFrame([row for row in rows if row])


def _row(
    records: Records, name: str, models: Records, errors: list[wer.WordErrors], claim: str = ""
) -> dict[str, object]:
    if not models and not errors:
        return {}
    references = [paper.BY_ID[f"speech.{claim}_{metric}"].paper if claim else NONE for metric in ("frame_acc", "wer")]
    accuracy, delta, rate, rate_delta = NONE, NONE, NONE, NONE
    baselines, baseline_errors = queries.single_models(records), queries.word_errors(records, "single")
    if models:
        system = queries.correct_frames(models)
        accuracy = with_interval(analysis.frame_accuracy(system))
        if claim != "baseline":
            delta = signed(analysis.difference(system, queries.correct_frames(baselines)))
    if errors:
        names = queries.speakers(records)
        rate = with_interval(percent(wer.rate(errors, names)))
        if baseline_errors and claim != "baseline":
            rate_delta = signed(percent(wer.difference(errors, baseline_errors, names)))
    return {
        "system": name,
        "paper: frame accuracy": references[0],
        "frame accuracy": accuracy,
        "delta vs single (pp)": delta,
        "range over models": _range(queries.accuracy(models)),
        "paper: WER": references[1],
        "WER": rate,
        "WER delta vs single (pp)": rate_delta,
        "models": queries.count_models(models) or NONE,
        "models decoded": len(errors) or NONE,
    }


def table5(records: Records) -> pd.DataFrame:
    """Return Table 5: fractions of the data with hard and with soft targets, beside all data."""
    full = queries.single_models(records)
    if not full or not queries.data_fractions(records):
        return pd.DataFrame()
    rows = [_fraction_row("100%", "hard", full, claims=("full_train_acc", "full_test_acc"))]
    for fraction in reversed(queries.data_fractions(records)):
        data, of_paper = f"{100 * fraction:g}%", fraction == queries.PAPER_FRACTION
        hard, soft = (queries.on_fraction(records, targets, fraction) for targets in ("hard", "soft"))
        hard_claims = ("hard3_train_acc", "hard3_test_acc") if of_paper else ()
        as_long = queries.longest_schedule(records, "hard", fraction)
        if hard:
            rows.append(_fraction_row(data, "hard", hard, stopped=True, claims=hard_claims))
            rows.append(_fraction_row(data, "hard", as_long, stopped=False))
        if soft:
            t, size = float(soft[0]["settings"]["temperature"]), soft[0]["settings"]["num_teachers"]
            claims = ("soft3_train_acc", "soft3_test_acc") if of_paper else ()
            targets = f"soft, {size} models at T = {t:g}"
            rows.append(_fraction_row(data, targets, soft, stopped=False, claims=claims))
    return pd.DataFrame(rows)


def _fraction_row(
    data: str, targets: str, models: Records, stopped: bool | None = None, claims: tuple[str, ...] = ()
) -> dict[str, object]:
    # Few seeds that differ much, as early-stopped ones may, give intervals that reach beyond 0 to 100%.
    prefix = "stopped_" if stopped else ""
    train, test = (
        stats.mean_interval(queries.accuracy(models, f"{prefix}{part}")).each(lambda value: min(max(value, 0), 100))
        for part in ("train", "test")
    )
    references = [paper.BY_ID[f"speech.{claim}"].paper for claim in claims] or [NONE, NONE]
    epochs = [record["metrics"]["stopped_epoch"] if stopped else record["settings"]["recipe"]["epochs"]
              for record in models]  # fmt: skip
    return {
        "data": data, "targets": targets, "early stopping": {None: NONE, True: "yes", False: "no"}[stopped],
        "paper: train": references[0], "train": with_interval(train),
        "paper: test": references[1], "test": with_interval(test),
        "epochs": f"{_mean(epochs):.3g}", "seeds": len(models),
    }  # fmt: skip


def hard_schedules(records: Records) -> pd.DataFrame:
    """Return early-stopped hard targets by the length of their schedule, where several lengths were tried."""
    rows = []
    for fraction in queries.data_fractions(records):
        by_length = queries.schedules(records, "hard", fraction)
        chosen = queries.on_fraction(records, "hard", fraction)
        for epochs, nets in by_length.items() if len(by_length) > 1 else ():
            rows.append({
                "data": f"{100 * fraction:g}%",
                "epochs of the schedule": f"{epochs:g}{' (chosen on validation)' if nets == chosen else ''}",
                "epochs until stopped": f"{_mean([record['metrics']['stopped_epoch'] for record in nets]):.3g}",
                "validation": with_interval(stats.mean_interval(queries.accuracy(nets, "stopped_validation"))),
                "test": with_interval(stats.mean_interval(queries.accuracy(nets, "stopped_test"))),
                "seeds": len(nets),
            })  # fmt: skip
    return pd.DataFrame(rows)


def recovered(records: Records) -> pd.DataFrame:
    """Return what soft targets recover of the gain of all data over each fraction."""
    full, rows = queries.single_models(records), []
    for fraction in queries.data_fractions(records):
        hard, soft = (queries.on_fraction(records, targets, fraction) for targets in ("hard", "soft"))
        if full and hard and soft:
            as_long = queries.longest_schedule(records, "hard", fraction)
            estimate = analysis.recovered(full, hard, soft)
            rows.append({
                "data": f"{100 * fraction:g}%",
                "recovered": with_interval(estimate),
                "hard: lost from best to final evaluation": _lost(as_long),
                "soft: lost from best to final evaluation": _lost(soft),
            })  # fmt: skip
    return pd.DataFrame(rows)


def _lost(models: Records) -> str:
    return with_interval(stats.mean_interval([queries.lost_at_end(record) for record in models]))


def ablations(records: Records) -> pd.DataFrame:
    """Return the ablations: size of the ensemble, width of the student, speech without transcripts."""
    baselines = queries.single_models(records)
    if not baselines:
        return pd.DataFrame()
    single, rows = queries.correct_frames(baselines), []
    for varied, name, models in _ablated(records):
        if models:
            system = queries.correct_frames(models)
            rows.append({"varied": varied, "model": name,
                         "frame accuracy": with_interval(analysis.frame_accuracy(system)),
                         "delta vs single (pp)": signed(analysis.difference(system, single)),
                         "epochs": _epochs(models), "models": queries.count_models(models)})  # fmt: skip
    return pd.DataFrame(rows)


def _epochs(models: Records) -> str:
    """Return the training length of some models; nothing for ensembles."""
    recipe = models[0]["settings"].get("recipe")
    return f"{recipe['epochs']:g}" if recipe else NONE


def _ablated(records: Records) -> list[tuple[str, str, Records]]:
    """Return what is varied, the row's name and its records."""
    rows = []
    for size in queries.ensemble_sizes(records):
        rows.append(("ensemble size", f"ensemble of {size}", queries.ensemble(records, size)))
        rows.append(("ensemble size", f"KD from {size}", queries.distilled_from(records, size)))
    kd = select(records, Arm.STUDENT_WIDTH_KD)
    for units in sorted({record["settings"]["hidden_units"][0] for record in kd}, reverse=True):
        for arm, targets in ((Arm.STUDENT_WIDTH_HARD_TARGETS, "hard targets"), (Arm.STUDENT_WIDTH_KD, "KD")):
            models = [r for r in select(records, arm) if r["settings"]["hidden_units"][0] == units]
            rows.append(("width", f"{units} units, {targets}", models))
    for first in select(records, Arm.SINGLE_MODEL_FEW_TRANSCRIPTS)[:1]:
        fraction = f"{first['settings']['fraction']:.0%}"
        for arm, label in TRANSCRIPT_LABELS.items():
            rows.append(("transcripts", label.format(fraction), select(records, arm)))
    return rows


def target_precision(records: Records) -> pd.DataFrame:
    """Return the relative errors of loss and gradient for each way to store soft targets."""
    rows = [row for record in select(records, Arm.TARGET_PRECISION) for row in record["metrics"]["rows"]]
    return pd.DataFrame([
        {"soft targets": STORAGE.get(row["storage"]) or f"top {row['top']} logits, others equal",
         "bytes per frame": row["bytes"] or NONE, "T": f"{row['temperature']:g}",
         "relative error of loss": f"{row['loss_error']:.1e}",
         "relative error of gradient": f"{row['gradient_error']:.1e}"}
        for row in sorted(rows, key=lambda row: row["temperature"])
    ])  # fmt: skip


def size(records: Records) -> pd.DataFrame:
    """Return the size of the experiment: frames, speakers, parameters, decoded words."""
    singles = queries.single_models(records)
    if not singles:
        return pd.DataFrame()
    metrics, hidden = singles[0]["metrics"], singles[0]["settings"]["hidden_units"]
    layers = f"{len(hidden)} x {hidden[0]}" if len(set(hidden)) == 1 else ", ".join(map(str, hidden))
    rows = [
        ("training frames", f"{metrics['train_frames']:,} ({metrics['train_frames'] / 360_000:.1f} hours)"),
        ("test speakers", f"{len(metrics['test_speaker_cases'])}"),
        ("test frames evaluated", f"{metrics['test_cases']:,}"),
        ("acoustic model", f"{layers} units, {STATES:,} tied states, "
                           f"{count_parameters([INPUTS, *hidden, STATES]) / 1e6:.1f}M parameters"),
    ]  # fmt: skip
    for decoding in select(records, Arm.DECODE, system="single")[:1]:
        metrics = decoding["metrics"]
        rows.append(("utterances decoded", f"{len(metrics['test_words']):,}, of {sum(metrics['test_words']):,} words"))
        labels = {"unknown_words": "test words outside the vocabulary", "vocabulary": "words in the vocabulary",
                  "perplexity": "perplexity of the trigram model"}  # fmt: skip
        rows += [(label, f"{metrics[name]:,}") for name, label in labels.items() if name in metrics]
    return pd.DataFrame(rows, columns=["quantity", "value"])


def with_interval(estimate: Estimate) -> str:
    """Return a value with its 95% CI as text, both with two digits; a dash for 0/0."""
    return NONE if math.isnan(estimate.value) else f"{estimate.value:.2f} {interval(estimate, '.2f')}"


def _range(values: list[float]) -> str:
    return f"{min(values):.2f} to {max(values):.2f}" if len(values) > 1 else NONE


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


TABLES: dict[str, tuple[str, Callable[[Records], pd.DataFrame]]] = {
    "data": ("Experiment size", size),
    "table1": (
        "Table 1: frame accuracy and word error rate on test, in percent [95% CI over models, where there are several, "
        "and test speakers]",
        table1,
    ),
    "search": ("Search on the validation speakers: frame accuracy in percent", choices.search),
    "acoustic_scale": (
        "Acoustic scale and vocabulary: word error rate on validation, in percent",
        choices.acoustic_scale,
    ),
    "table5": ("Table 5: fractions of the data, frame accuracy in percent; 95% CI over seeds", table5),
    "hard_schedules": (
        "Hard targets on a fraction, early-stopped, by length of the schedule: frame accuracy in percent; 95% CI over "
        "seeds",
        hard_schedules,
    ),
    "recovered": (
        "Section 6: fraction that soft targets recover (above 1: the teachers are an ensemble, all data mean a "
        "single model)",
        recovered,
    ),
    "target_precision": (
        "Precision of stored soft targets: relative errors on some validation frames, a student of the lowest T",
        target_precision,
    ),
    "ablations": (
        "Ablations: test frame accuracy in percent; 95% CI over models and test speakers, one ensemble of each size",
        ablations,
    ),
}
