"""Every number that the paper prints, or that is derived from those it prints, and the criterion for ours.

Ids are stable: other tools read them.
"""

from dataclasses import dataclass
from typing import Literal

from repro.paper.values import COVER_GAINS, COVER_SLOPE

TITLE = "Hinton, Vinyals & Dean 2015, Distilling the Knowledge in a Neural Network (arXiv 1503.02531v1)"


@dataclass(frozen=True)
class Claim:
    """A figure of the paper.

    Attributes:
        rule:
            ``figure``: the paper's figure is one run. Reproduced when ``direction`` holds and the 95% prediction
            interval for one more run of ours contains the figure; undecided when that interval is wider than the
            paper's effect, so that it would contain almost anything; exceeds when it lies wholly on the side that
            ``better`` names.
            ``interval``: as ``figure``, with our 95% interval instead of the prediction interval.
            ``range``: reproduced when ours lies in ``paper_range`` and ``direction`` holds.
            ``direction``: reproduced when ``direction`` holds and the paper prints no number. A number that depends on
            the data, such as an accuracy on another corpus, is not met by ours: the verdict is "direction holds".
            ``shown``: set beside the paper's and not judged.
        direction: what must hold, in words; the experiment's report computes it.
        better: the better side of the figure.
        no_effect: value of the quantity where there is no effect, for rules ``figure`` and ``interval``.
        paper_range: values that reproduce the claim, for rule ``range``.
        seeds: number of networks that a verdict needs.
        paper_effect: the paper's effect, where a difference is judged and not the figure.
        restates: why the row is not counted: it restates another one or cannot fail. Empty: it is counted.
        label: short name on the scorecard, of a claim that can be judged and is counted.
    """

    id: str
    section: str
    quantity: str
    unit: str
    paper: float | str
    rule: Literal["figure", "interval", "range", "direction", "shown"]
    direction: str = ""
    better: Literal["lower", "higher", ""] = ""
    paper_range: tuple[float, float] | None = None
    seeds: int = 2
    paper_effect: float | None = None
    no_effect: float = 0.0
    restates: str = ""
    label: str = ""

    @property
    def has_figure_to_meet(self) -> bool:
        """Whether the verdict compares ours with the paper's figure."""
        return self.rule in ("figure", "interval")

    @property
    def criterion(self) -> str:
        """Condition in words for the verdict "reproduced", or for the best verdict that the claim can get."""
        if self.has_figure_to_meet:
            interval = "the 95% prediction interval for one more run" if self.rule == "figure" else "it"
            return f"{self.direction}; {interval} contains {self.paper} and is at most {self.widest:.4g} wide"
        if self.rule == "range" and self.paper_range is not None:
            low, high = self.paper_range
            return f"{self.direction}; ours is " + (f"{low:g}" if low == high else f"in [{low:g}, {high:g}]")
        if self.rule == "direction" and not isinstance(self.paper, str):
            return f'{self.direction} (at best "direction holds")'
        return self.direction

    @property
    def widest(self) -> float:
        """The paper's effect: the widest prediction interval that says something about its figure."""
        return abs(self.figure - self.no_effect)

    @property
    def effect(self) -> float:
        """The paper's effect without its sign, of a claim with a figure or a difference."""
        return self.widest if self.paper_effect is None else abs(self.paper_effect)

    @property
    def figure(self) -> float:
        """The paper's figure as a number, of a claim that has one."""
        return float(self.paper)


_ERRORS = "of 10,000"

_SHIFT_DIRECTION = "the interval of the shift is on the paper's side of zero"

_HONEST = "without the shift, here chosen on validation; paired interval excludes zero"

_OVER = "95% interval of the difference over networks and test speakers excludes zero"

_ABOVE_BOTH = (
    "above the generalist and above the generalist trained longer at the same cost, intervals of the paired "
    "differences exclude zero"
)

# Mean errors of 10,000 that differ by less are similar: a margin of equivalence, stated before the tests were made.
EQUIVALENT_ERRORS = 10

CLAIMS = (
    Claim("mnist.teacher_errors", "3", "test errors, 2x1200, dropout, weight constraint, translations", _ERRORS, 67,
          "figure", "fewer errors than the baseline, paired interval excludes zero", "lower", no_effect=146,
          label="errors of the teacher"),
    Claim("mnist.baseline_errors", "3", "test errors, 2x800, no regularization", _ERRORS, 146,
          "figure", "more errors than the teacher, paired interval excludes zero", no_effect=67,
          label="errors on hard targets"),
    Claim("mnist.distilled_errors", "3", "test errors, 2x800, soft targets at T=20", _ERRORS, 74,
          "figure", "fewer errors than the baseline, paired interval excludes zero", "lower", no_effect=146,
          label="errors of the student"),
    Claim("mnist.gap_closed", "3", "fraction of the gap from baseline to teacher closed by distillation", "fraction",
          0.91, "figure", "the interval is above zero", "higher", label="fraction of the gap closed"),
    Claim("mnist.wide_flat", "3", "largest deviation of any T > 8 from the mean over the others, widths >= 300",
          _ERRORS, "similar", "direction",
          f"equivalent: every difference is within {EQUIVALENT_ERRORS} errors by two one-sided paired tests (5%)",
          label="wide students: all T > 8 similar"),
    Claim("mnist.narrow_best_T", "3", "best temperature with 30 units per layer", "T", "2.5-4", "range",
          "the mean over T of 2.5 to 4 has fewer errors than the mean over lower T and than the mean over higher T, "
          "paired intervals exclude zero", "", (2.5, 4.0), label="30 units: best T"),
    Claim("mnist.no3_errors", "3", "test errors, no 3 in the transfer set", _ERRORS, 206, "figure",
          "more errors than the distilled network, paired interval excludes zero", "lower", no_effect=74,
          label="no 3s: errors (fewer is better)"),
    Claim("mnist.no3_errors_on_3", "3", "test errors on the 1010 test 3s, no 3 in the transfer set",
          "of 1010", 133, "figure", "more than half of the 3s are classified correctly, interval excludes half",
          "lower", no_effect=505, label="no 3s: errors on 3s"),
    Claim("mnist.no3_shift", "3", "increase of the class-3 bias (test-tuned, as in the paper)", "logits", 3.5, "figure",
          _SHIFT_DIRECTION, label="no 3s: bias shift"),
    Claim("mnist.no3_corrected_errors", "3", "test errors after that shift (test-tuned)", _ERRORS, 109, "figure",
          f"fewer errors than {_HONEST}", "lower", no_effect=206, label="no 3s: errors after the shift"),
    Claim("mnist.no3_corrected_errors_on_3", "3", "test errors on 3s after that shift (test-tuned)",
          "of 1010", 14, "figure", f"fewer errors on 3s than {_HONEST}", "lower", no_effect=133,
          label="no 3s: errors on 3s after the shift"),
    Claim("mnist.no3_corrected_acc_on_3", "3", "accuracy on never-seen 3s after the shift (test-tuned)", "%", 98.6,
          "figure", f"higher than {_HONEST}", "higher", no_effect=86.8,
          restates="the errors on 3s after the shift, divided by 1010"),
    Claim("mnist.only78_error", "3", "test error, transfer set of 7s and 8s only", "%", 47.3, "figure",
          "below the 79.98% of a network that predicts only 7 and 8, interval excludes it", "lower", no_effect=79.98,
          label="only 7s and 8s: error"),
    Claim("mnist.only78_shift", "3", "decrease of the biases of 7 and 8 (test-tuned, as in the paper)", "logits", 7.6,
          "figure", _SHIFT_DIRECTION, label="only 7s and 8s: bias shift"),
    Claim("mnist.only78_corrected_error", "3", "test error after that shift (test-tuned)", "%", 13.2, "figure",
          f"less error than {_HONEST}", "lower", no_effect=47.3, label="only 7s and 8s: error after the shift"),
    Claim("theory.logit_matching", "2.1", "exact gradient / high-T gradient, at the largest T tried", "ratio", 1.0,
          "range", "the ratio approaches 1 as T grows", "", (0.99, 1.01), seeds=1,
          restates="true of every correct softmax: it tests the code, not a network"),
    Claim("speech.baseline_frame_acc", "4", "test frame accuracy, single model", "%", 58.9, "shown"),
    Claim("speech.baseline_wer", "4", "word error rate, single model", "%", 10.9, "shown"),
    Claim("speech.ensemble_frame_acc", "4", "test frame accuracy, ensemble", "%", 61.1, "direction",
          f"above the single models', {_OVER}", paper_effect=2.2, label="gain of the ensemble"),
    Claim("speech.ensemble_wer", "4", "word error rate, ensemble", "%", 10.7, "direction",
          f"below the single models', {_OVER}", paper_effect=-0.2, label="WER reduction of the ensemble"),
    Claim("speech.distilled_frame_acc", "4", "test frame accuracy, one model distilled from the ensemble", "%", 60.8,
          "direction", f"above the single models', {_OVER}", paper_effect=1.9, label="gain of the student"),
    Claim("speech.distilled_wer", "4", "word error rate, one model distilled from the ensemble", "%", 10.7, "direction",
          f"below the single models', {_OVER}", paper_effect=-0.2, label="WER reduction of the student"),
    Claim("speech.gain_transferred", "4", "fraction of the ensemble's frame-accuracy gain kept by the distilled model",
          "fraction", 0.86, "figure", "the interval is above zero", "higher", label="fraction of the gain kept"),
    Claim("speech.best_temperature", "4", "best temperature of 1, 2, 5, 10, on validation", "T", 2, "range",
          f"higher frame accuracy on test at T=2 than at T=1 and than the mean over T of 5 and 10, each {_OVER}", "",
          (2.0, 2.0), label="best temperature"),
    Claim("speech.full_train_acc", "6", "training frame accuracy, all data, hard targets", "%", 63.4, "shown"),
    Claim("speech.full_test_acc", "6", "test frame accuracy, all data, hard targets", "%", 58.9, "shown",
          restates="the single model of section 4"),
    Claim("speech.hard3_train_acc", "6", "training frame accuracy, 3% of the data, hard targets, early-stopped", "%",
          67.3, "shown"),
    Claim("speech.hard3_test_acc", "6", "test frame accuracy, 3% of the data, hard targets, early-stopped", "%", 44.5,
          "shown"),
    Claim("speech.soft3_train_acc", "6", "training frame accuracy, 3% of the data, soft targets, last epoch", "%", 65.4,
          "shown"),
    Claim("speech.soft3_test_acc", "6", "test frame accuracy, 3% of the data, soft targets, last epoch", "%", 57.0,
          "shown"),
    Claim("speech.soft3_recovered", "6",
          "fraction of the loss from using 3% of the data that soft targets recover", "fraction", 0.87,
          "figure", "the interval is above zero", "higher", label="3% of the data: fraction recovered"),
    Claim("speech.soft3_no_overfit", "6",
          "drop in test frame accuracy from the best to the final evaluation on 3%, delta of hard vs soft targets",
          "points", "hard targets drop, soft do not", "direction",
          "interval over seeds above zero, and soft targets drop by less than 0.5 points",
          label="3% of the data: no overfitting"),
    Claim("specialists.baseline_acc", "5", "accuracy, generalist alone", "%", 25.0, "shown"),
    Claim("specialists.baseline_conditional", "5", "accuracy within the special classes, generalist alone", "%", 43.1,
          "shown"),
    Claim("specialists.with_acc", "5", "accuracy, with specialists", "%", 26.1, "direction",
          _ABOVE_BOTH, paper_effect=1.1, restates="the relative gain, in points"),
    Claim("specialists.with_conditional", "5", "accuracy within the special classes, with specialists", "%", 45.9,
          "direction", "above the generalist, and the overall accuracy above the generalist trained longer at the same "
          "cost, intervals of the paired differences exclude zero", paper_effect=2.8,
          label="gain within the special classes"),
    Claim("specialists.relative_gain", "5", "relative gain in accuracy", "%", 4.4, "figure", _ABOVE_BOTH, "higher",
          label="relative gain"),
    *(Claim(f"specialists.cover_{count}", "5", f"relative gain, classes covered by {name}", "%", gain, "shown")
      for (count, name), gain in zip((
          ("0", "no specialist"), ("1", "1 specialist"), ("2", "2 specialists"), ("3", "3 specialists"),
          ("4", "4 specialists"), ("5", "5 specialists"), ("6", "6 specialists"), ("7", "7 specialists"),
          ("8", "8 specialists"), ("9", "9 specialists"), ("10plus", "10 or more specialists")),
          COVER_GAINS, strict=True)),
    Claim("specialists.cover_trend", "5", "slope of the relative gain on the number of covering specialists",
          "% per specialist", COVER_SLOPE, "interval", "above zero, 95% interval over classes and seeds excludes zero",
          "higher", label="slope of Table 4"),
    Claim("specialists.soft_regulariser", "6.1",
          "accuracy with full-softmax specialists on soft targets, minus with dustbin specialists", "points",
          "none", "shown"),
    Claim("specialists.distilled_back", "8",
          "accuracy of one network distilled from generalist and specialists, minus the generalist's", "points", "none",
          "shown"),
)  # fmt: skip

BY_ID = {claim.id: claim for claim in CLAIMS}
