"""The tables of sections 4 and 6: the paper's figures beside ours, from the records alone."""

from collections.abc import Callable

import pandas as pd

from repro import paper
from repro.evaluation import stats
from repro.evaluation.stats import Estimate
from repro.models.flops import count_parameters
from repro.report.query import interval, percent, select, signed
from repro.report.records import Record
from repro.report.speech import analysis as claims
from repro.speech.alignment import STATES
from repro.speech.decoding import wer
from repro.speech.features import INPUTS

Found = list[Record]


def table1(records: Found) -> pd.DataFrame:
    """Table 1: single net, ensemble, distilled net; frame accuracy and word error rate."""
    single = claims.right(claims.singles(records))
    if single is None:
        return pd.DataFrame()
    best = claims.best_temperature(records)
    rows = [_row(records, "single net", claims.singles(records), claims.words(records, "single net"), "baseline")]
    rows += [_row(records, "ensemble", claims.ensemble(records), claims.words(records, "ensemble"), "ensemble")]
    rows += [_row(records, "ensemble, geometric mean", claims.ensemble(records, mean="geometric"), [])]
    for t in claims.temperatures(records):
        name = f"distilled, T = {t:g}" + (" (chosen on validation)" if t == best else "")
        heard = claims.words(records, "distilled", temperature=t)
        rows.append(_row(records, name, claims.distilled(records, t), heard, "distilled" if t == best else ""))
    arithmetic = select(records, "distilled, arithmetic mean")
    if arithmetic:
        t = float(arithmetic[0]["settings"]["temperature"])
        rows.append(_row(records, f"distilled from the arithmetic mean, T = {t:g}", arithmetic, []))
    rows.append(
        _row(records, "decoder's own acoustic model", [], claims.words(records, "decoder's own acoustic model"))
    )
    return pd.DataFrame([row for row in rows if row])


def _row(records: Found, name: str, found: Found, heard: list[wer.WordErrors], claim: str = "") -> dict[str, object]:
    if not found and not heard:
        return {}
    printed = [paper.BY_ID[f"speech.{claim}_{what}"].paper if claim else "–" for what in ("frame_acc", "wer")]
    single, this = claims.right(claims.singles(records)), claims.right(found)
    ahead = "–"
    if this is not None and single is not None and found != claims.singles(records):
        ahead = signed(claims.difference(this, single))
    whose, base = claims.speakers(records) if heard else [], claims.words(records, "single net")
    more = "–"
    if heard and base and name != "single net":
        more = signed(percent(wer.difference(heard, base, whose)))
    return {
        "system": name,
        "paper: frame accuracy": printed[0],
        "frame accuracy": "–" if this is None else _percent(claims.over_nets_and_speakers(lambda a: a, this)),
        "minus single net, points": ahead,
        "spread over nets": _spread(claims.accuracy(found)),
        "paper: WER": printed[1],
        "WER": _percent(percent(wer.rate(heard, whose))) if heard else "–",
        "WER minus single net's, points": more,
        "nets": sum(record["metrics"].get("nets", 1) for record in found) or "–",
        "decoded": len(heard) or "–",
    }


def table5(records: Found) -> pd.DataFrame:
    """Table 5: few data by hard and by soft targets, beside all data."""
    full = claims.singles(records)
    if not full or not claims.shares(records):
        return pd.DataFrame()
    rows = [_few_row("100%", "hard", "–", full, "", ("full_train_acc", "full_test_acc"))]
    for share in reversed(claims.shares(records)):
        named = share == claims.FEW
        hard, soft = claims.few(records, "hard", share), claims.few(records, "soft", share)
        rows.append(_few_row(f"{100 * share:g}%", "hard", "yes", hard, "stopped_",
                             ("hard3_train_acc", "hard3_test_acc") if named else ()))  # fmt: skip
        rows.append(_few_row(f"{100 * share:g}%", "hard", "no", hard, ""))
        if soft:
            t, nets = float(soft[0]["settings"]["temperature"]), soft[0]["settings"]["teachers"]
            rows.append(_few_row(f"{100 * share:g}%", f"soft, {nets} nets at T = {t:g}", "no", soft, "",
                                 ("soft3_train_acc", "soft3_test_acc") if named else ()))  # fmt: skip
    return pd.DataFrame(rows)


def _few_row(
    share: str, targets: str, stopped: str, found: Found, which: str, printed: tuple[str, ...] = ()
) -> dict[str, object]:
    # Few seeds that differ much, as early-stopped ones may, give an interval wider than what an accuracy can be.
    train, test = (
        stats.mean_interval(claims.accuracy(found, f"{which}{part}")).each(lambda percent: min(max(percent, 0), 100))
        for part in ("train", "test")
    )
    shown = [paper.BY_ID[f"speech.{claim}"].paper for claim in printed] or ["–", "–"]
    epochs = [record["metrics"]["stopped_epoch"] if which else record["settings"]["recipe"]["epochs"]
              for record in found]  # fmt: skip
    return {
        "data": share, "targets": targets, "early stopping": stopped,
        "paper: train": shown[0], "train": _percent(train), "paper: test": shown[1], "test": _percent(test),
        "passes": f"{sum(epochs) / len(epochs):.3g}", "seeds": len(found),
    }  # fmt: skip


def recovered(records: Found) -> pd.DataFrame:
    """What soft targets recover of what all data give over few, for each share."""
    full, rows = claims.singles(records), []
    for share in claims.shares(records):
        hard, soft = claims.few(records, "hard", share), claims.few(records, "soft", share)
        if not full or not soft:
            continue
        found = claims.recovered(full, hard, soft)
        rows.append(
            {
                "data": f"{100 * share:g}%",
                "recovered": f"{found.value:.2f} {interval(found, '.2f')}",
                "hard: lost from best look to last": f"{_mean([claims.lost_at_end(r) for r in hard]):.2f}",
                "soft: lost from best look to last": f"{_mean([claims.lost_at_end(r) for r in soft]):.2f}",
            }
        )
    return pd.DataFrame(rows)


def studies(records: Found) -> pd.DataFrame:
    """Beyond the paper: how many teachers, how wide a student, how many passes, speech without transcripts."""
    single, rows = claims.right(claims.singles(records)), []
    if single is None:
        return pd.DataFrame()

    def add(what: str, name: str, found: Found) -> None:
        if found:
            this = claims.right_of(found)
            rows.append({"varied": what, "net": name,
                         "frame accuracy": _percent(claims.over_nets_and_speakers(lambda a: a, this)),
                         "minus single net, points": signed(claims.difference(this, single)),
                         "nets": sum(record["metrics"].get("nets", 1) for record in found)})  # fmt: skip

    for count in sorted({record["metrics"]["nets"] for record in select(records, "ensemble")}):
        add("ensemble", f"mean of {count}", claims.ensemble(records, count))
        add("ensemble", f"distilled from {count}", distilled_from(records, count))
    narrow = select(records, "narrower, distilled")
    for units in sorted({record["settings"]["hidden"][0] for record in narrow}, reverse=True):
        for arm in ("narrower, hard targets", "narrower, distilled"):
            found = [r for r in select(records, arm) if r["settings"]["hidden"][0] == units]
            add("width", f"{units} units: {arm.split(', ')[1]}", found)
    for arm in ("hard targets", "distilled"):
        for t, found in claims.longer(records, arm).items():
            epochs = found[0]["settings"]["recipe"]["epochs"]
            add("passes", f"{epochs:g} passes: {arm}" + (f", T = {t:g}" if arm == "distilled" else ""), found)
    for few in select(records, "single net, few transcripts")[:1]:
        share = f"transcripts of {few['settings']['share']:.0%}"
        for arm in ("single net, few transcripts", "ensemble, few transcripts", "distilled, same speech",
                     "distilled, with untranscribed speech"):  # fmt: skip
            add("transcripts", arm.replace("few transcripts", share), select(records, arm))
    return pd.DataFrame(rows)


def distilled_from(records: Found, count: int) -> Found:
    """Students of the first ``count`` nets."""
    whole = max(record["metrics"]["nets"] for record in select(records, "ensemble"))
    return claims.distilled(records) if count == whole else select(records, "distilled from fewer nets", teachers=count)


def rounding(records: Found) -> pd.DataFrame:
    """What is lost where soft targets are not held exactly."""
    rows = [row for record in select(records, "soft targets, rounding") for row in record["metrics"]["rows"]]
    return pd.DataFrame([
        {"soft targets": row["way"], "bytes for a frame": row["bytes"] or "–", "T": f"{row['temperature']:g}",
         "error of the loss": f"{row['loss_error']:.1e}", "error of the gradient": f"{row['gradient_error']:.1e}"}
        for row in sorted(rows, key=lambda row: row["temperature"])
    ])  # fmt: skip


def data(records: Found) -> pd.DataFrame:
    """How large the experiment is."""
    single = claims.singles(records)
    if not single:
        return pd.DataFrame()
    first, heard = single[0], select(records, "words: single net")
    metrics = first["metrics"]
    hidden = first["settings"]["hidden"]
    layers = f"{len(hidden)} x {hidden[0]}" if len(set(hidden)) == 1 else ", ".join(map(str, hidden))
    rows = [
        ("training frames", f"{metrics['train_frames']:,} ({metrics['train_frames'] / 360_000:.1f} hours)"),
        ("test speakers", f"{len(metrics['test_speaker_cases'])}"),
        ("test frames that are counted", f"{metrics['test_cases']:,}"),
        ("a net", f"{layers} units, {STATES:,} tied states, "
                  f"{count_parameters([INPUTS, *hidden, STATES]) / 1e6:.1f}M weights"),
    ]  # fmt: skip
    if heard:
        one = heard[0]["metrics"]
        rows.append(("utterances decoded", f"{len(one['test_words'])}, of {sum(one['test_words']):,} words"))
        known = {"unknown_words": "words of them that the decoder does not know", "vocabulary": "words that it knows",
                 "perplexity": "perplexity of the trigram model"}  # fmt: skip
        rows += [(what, f"{one[name]:,}") for name, what in known.items() if name in one]
    return pd.DataFrame(rows, columns=["what", "how much"])


def left_out(shown: dict) -> pd.DataFrame:
    """Utterances that could not be used, and those that were changed, by reason."""
    rows = [{"utterances": len(ids), "what": reason, "such as": ", ".join(ids[:3])}
            for kind in ("left_out", "remarked") for reason, ids in shown[kind].items()]  # fmt: skip
    return pd.DataFrame(rows)


def _percent(estimate: Estimate) -> str:
    return f"{estimate.value:.2f} {interval(estimate, '.2f')}"


def _spread(values: list[float]) -> str:
    return f"{min(values):.2f} to {max(values):.2f}" if len(values) > 1 else "–"


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


TABLES: dict[str, tuple[str, Callable[[Found], pd.DataFrame]]] = {
    "data": ("How large it is", data),
    "table1": (
        "Table 1: frame accuracy and word error rate in percent, test; intervals over nets and test speakers",
        table1,
    ),
    "table5": ("Table 5: few data, frame accuracy in percent; intervals over seeds", table5),
    "recovered": (
        "Section 6: what soft targets recover (above 1: the teachers are an ensemble, all data mean a single net)",
        recovered,
    ),
    "rounding": (
        "Soft targets not held exactly: relative errors, some validation frames, a student of the first temperature",
        rounding,
    ),
    "studies": ("Beyond the paper: test frame accuracy in percent", studies),
}
