"""The claims of sections 4 and 6, computed from the records."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from repro import paper
from repro.evaluation import stats
from repro.evaluation.stats import Counts, Estimate
from repro.report.query import UNDECIDED, clear, percent, positive, select, signed
from repro.report.records import Record
from repro.report.section import Finding
from repro.speech.decoding import wer
from repro.speech.decoding.wer import WordErrors

FEW = 0.03  # section 6's share of the data
OVER = "nets and test speakers"  # what is drawn anew for an interval
OVER_NETS = "interval over nets alone"
STILL = 0.5  # points of test accuracy; a run that loses less from its best look to its last has not overfitted


@dataclass(frozen=True)
class Right:
    """The frames of each speaker that a row's nets have right, and how many there are."""

    counts: Counts
    cases: np.ndarray


def right(found: list[Record], part: str = "test") -> Right | None:
    """Of a row's nets; None where there are none."""
    return right_of(found, part) if found else None


def right_of(found: list[Record], part: str = "test") -> Right:
    """Of a row's nets, of which there are some; ``part`` may be ``stopped_test`` and the like."""
    each = np.array([record["metrics"][f"{part}_speaker_right"] for record in found])
    cases = found[0]["metrics"][f"{part.removeprefix('stopped_')}_speaker_cases"]
    return Right(Counts(each, tuple(record["seed"] for record in found)), np.array(cases))


def accuracy(found: list[Record], part: str = "test") -> list[float]:
    """Frame accuracy in percent of each net; ``part`` may be ``stopped_test`` and the like."""
    return [100 * record["metrics"][f"{part}_right"] / record["metrics"][f"{part}_cases"] for record in found]


def over_nets_and_speakers(statistic: Callable[..., np.ndarray], *systems: Right) -> Estimate:
    """A statistic of the systems' frame accuracies in percent, its interval over draws of nets and of speakers."""

    def of_sums(cases: np.ndarray, *sums: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):  # a share of nothing is no number
            return statistic(*(100 * one / cases for one in sums))

    return stats.over_nets_and_units(of_sums, systems[0].cases, [system.counts for system in systems])


def of_nets(estimate: Estimate, found: list[Record]) -> Estimate:
    """The same, counted by the nets behind it and not by the units its interval is over."""
    nets = sum(record["metrics"].get("nets", 1) for record in found)
    return replace(estimate, count=nets)


def difference(first: Right, second: Right) -> Estimate:
    """Points of frame accuracy by which ``first`` is ahead, with the interval over nets and speakers."""
    return over_nets_and_speakers(lambda a, b: a - b, first, second)


def singles(records: list[Record]) -> list[Record]:
    """The nets of the ensemble, each a baseline."""
    return select(records, "single net")


def ensemble(records: list[Record], nets: int | None = None, mean: str = "arithmetic") -> list[Record]:
    """The record of the mean of the first ``nets`` nets, or of all."""
    found = [record for record in select(records, "ensemble") if record["settings"]["mean"] == mean]
    if not found:
        return []
    wanted = nets or max(record["metrics"]["nets"] for record in found)
    return [record for record in found if record["metrics"]["nets"] == wanted]


def temperatures(records: list[Record], arm: str = "distilled") -> list[float]:
    """Those that the nets of a role, Table 1's students unless told otherwise, were trained at."""
    return sorted({float(record["settings"]["temperature"]) for record in select(records, arm)})


def distilled(records: list[Record], temperature: float | None = None) -> list[Record]:
    """The students of a temperature, or of the one that is best on validation."""
    chosen = best_temperature(records) if temperature is None else temperature
    return [] if chosen is None else select(records, "distilled", temperature=chosen)


def best_temperature(records: list[Record]) -> float | None:
    """The temperature whose students have most validation frames right."""
    scores = {t: np.mean(accuracy(distilled(records, t), "validation")) for t in temperatures(records)}
    return max(scores, key=scores.__getitem__) if scores else None


def longer(records: list[Record], arm: str) -> dict[float, list[Record]]:
    """Nets that saw the data more often than Table 1's, of hard targets or distilled, by temperature."""
    arm = f"trained longer, {arm}"
    return {t: select(records, arm, temperature=t) for t in temperatures(records, arm)}


def shares(records: list[Record]) -> list[float]:
    """Shares of the data that nets were trained on, all of it left out."""
    return sorted({float(record["settings"]["share"]) for record in select(records, "few data, hard targets")})


def few(records: list[Record], kind: str, share: float) -> list[Record]:
    """Nets trained on a share of the data, by ``hard`` or ``soft`` targets."""
    return select(records, f"few data, {kind} targets", share=share)


def words(records: list[Record], arm: str, **settings: float) -> list[WordErrors]:
    """Word errors of each decoding of a role."""
    found = select(records, f"words: {arm}", **settings)
    return [WordErrors(*(np.array(record["metrics"][f"test_{name}"]) for name in
                         ("substitutions", "deletions", "insertions", "words"))) for record in found]  # fmt: skip


def speakers(records: list[Record]) -> list[str]:
    """The speaker of each utterance decoded."""
    return next(record["metrics"]["test_speakers"] for record in records if record["arm"].startswith("words: "))


def findings(records: list[Record]) -> list[Finding]:
    """All claims for which there are records; the others are absent, and so is a share of nothing."""
    found = [finding for part in (_frames, _words, _few) for finding in part(records)]
    return [finding for finding in found if np.isfinite(finding.ours.value)]


def kept(single: Right, mean: Right, student: Right) -> Estimate:
    """The share of the ensemble's gain over single nets that a student keeps."""
    return over_nets_and_speakers(lambda s, m, d: (d - s) / (m - s), single, mean, student)


def recovered(full: list[Record], hard: list[Record], soft: list[Record]) -> Estimate:
    """The share of what all data give over few, by hard targets stopped early, that soft targets recover."""
    systems = right_of(full), right_of(hard, "stopped_test"), right_of(soft)
    return over_nets_and_speakers(lambda f, h, s: (s - h) / (f - h), *systems)


def _frames(records: list[Record]) -> list[Finding]:
    single, mean, student = (right(found) for found in (singles(records), ensemble(records), distilled(records)))
    if single is None or mean is None:
        return []
    gain = difference(mean, single)
    whole = over_nets_and_speakers(lambda a: a, mean)
    results = [
        Finding("speech.baseline_frame_acc", stats.mean_interval(accuracy(singles(records))), True, OVER_NETS),
        Finding("speech.ensemble_frame_acc", of_nets(whole, ensemble(records)), clear(gain),
                f"minus single nets: {signed(gain)} points; interval over {gain.count} test speakers"),
    ]  # fmt: skip
    best = best_temperature(records)
    if student is None or best is None:
        return results
    ahead, tried, share = difference(student, single), temperatures(records), kept(single, mean, student)
    more = "".join(f"; a student of {nets[0]['settings']['recipe']['epochs']:g} passes at T = {t:g} keeps "
                   f"{kept(single, mean, right_of(nets)).value:.2f} of the same gain"
                   for t, nets in longer(records, "distilled").items())  # fmt: skip
    ends = [difference(student, right_of(distilled(records, t))) for t in (tried[0], tried[-1])]
    results += [
        Finding("speech.distilled_frame_acc", stats.mean_interval(accuracy(distilled(records))), clear(ahead),
                f"T = {best:g}, chosen on validation; {OVER_NETS}; minus single nets: {signed(ahead)} points over "
                f"{OVER}"),
        Finding("speech.gain_transferred", of_nets(share, distilled(records)),
                positive(gain) and positive(share) and share.value >= 0.8,
                f"T = {best:g}; interval over {OVER}{more}"),
    ]  # fmt: skip
    if len(tried) > 2:  # of fewer, none is between others
        inside = tried[0] < best < tried[-1] and all(positive(end) for end in ends)
        at_best = Estimate(best, None, None, len(distilled(records)))
        results.append(Finding("speech.best_temperature", at_best, inside, _margins(records, best)))
    return results


def _margins(records: list[Record], best: float) -> str:
    """By how much the chosen temperature is ahead of the others, on validation and on test."""
    others = [t for t in temperatures(records) if t != best]
    margins = {
        part: [difference(right_of(distilled(records, best), part), right_of(distilled(records, t), part))
               for t in others]
        for part in ("validation", "test")
    }  # fmt: skip
    said = [
        f"on {part} minus " + ", ".join(f"T = {t:g}: {signed(one)}" for t, one in zip(others, each, strict=True))
        for part, each in margins.items()
    ]
    level = [f"T = {t:g}" for t, one in zip(others, margins["validation"], strict=True) if not positive(one)]
    if level:
        said.append(f"{UNDECIDED} on validation between T = {best:g} and {', '.join(level)}")
    return "; ".join(said)


def _words(records: list[Record]) -> list[Finding]:
    best = best_temperature(records)
    single, mean = words(records, "single net"), words(records, "ensemble")
    student = words(records, "distilled", temperature=best) if best is not None else []
    if not single:
        return []
    whose = speakers(records)
    rate = lambda system, nets: of_nets(percent(wer.rate(system, whose)), nets)  # noqa: E731
    decoded = select(records, "words: single net")
    results = [Finding("speech.baseline_wer", rate(single, decoded), True, f"interval over {OVER}")]
    for claim, system, nets in (("ensemble", mean, ensemble(records)), ("distilled", student, distilled(records))):
        if system:
            more = percent(wer.difference(system, single, whose))
            lower = None if more.high is None else more.high < 0
            note = f"minus single nets: {signed(more)} points over {OVER}, the same utterances"
            theirs = paper.BY_ID[f"speech.{claim}_wer"].figure - paper.BY_ID["speech.baseline_wer"].figure
            if more.low is not None and more.high is not None and more.low <= theirs and more.high >= 0:
                note += f"; {UNDECIDED} (the paper's is {theirs:+.1f})"
            results.append(Finding(f"speech.{claim}_wer", rate(system, nets), lower, note))
    return results


def _few(records: list[Record]) -> list[Finding]:
    full, hard, soft = singles(records), few(records, "hard", FEW), few(records, "soft", FEW)
    if not (full and hard and soft):
        return []
    share, lacking = recovered(full, hard, soft), difference(right_of(full), right_of(hard, "stopped_test"))
    lost = [np.array([lost_at_end(record) for record in found]) for found in (hard, soft)]
    overfit = stats.paired_difference(lost[0], lost[1])
    shown = [("full_train_acc", full, "train"), ("full_test_acc", full, "test"),
             ("hard3_train_acc", hard, "stopped_train"), ("hard3_test_acc", hard, "stopped_test"),
             ("soft3_train_acc", soft, "train"), ("soft3_test_acc", soft, "test")]  # fmt: skip
    results = [Finding(f"speech.{claim}", stats.mean_interval(accuracy(found, part)), True, OVER_NETS)
               for claim, found, part in shown]  # fmt: skip
    note = (
        f"soft targets of {soft[0]['settings']['teachers']} nets at T = {float(soft[0]['settings']['temperature']):g}"
    )
    stopped = ", ".join(f"{record['metrics']['stopped_epoch']:.0f}" for record in hard)
    first = sum(record["metrics"]["stopped_epoch"] <= record["curve"][0][0] for record in hard)
    early = (
        f"; at the first look {first} of {len(hard)} times, and a finer one might favour hard targets" if first else ""
    )
    return [
        *results,
        Finding("speech.soft3_recovered", of_nets(share, soft), positive(lacking) and positive(share),
                f"{note}; interval over {OVER}; hard targets stopped after {stopped} of "
                f"{hard[0]['settings']['recipe']['epochs']:g} passes{early}"),
        Finding("speech.soft3_no_overfit", overfit, positive(overfit) and float(lost[1].mean()) < STILL,
                f"{OVER_NETS}; hard targets lose {lost[0].mean():.2f}, soft ones {lost[1].mean():.2f} points{early}"),
    ]  # fmt: skip


def lost_at_end(record: Record) -> float:
    """Points of test frame accuracy between a run's best look and its last."""
    seen = [look[3] for look in record["curve"]]
    return max(seen) - seen[-1]
