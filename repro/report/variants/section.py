"""The variants as they are reported, and what is to be said beside them."""

from functools import partial
from pathlib import Path

from rich.table import Table

from repro.report import records, terminal
from repro.report.query import of_others, select
from repro.report.records import Record
from repro.report.section import Section
from repro.report.variants import analysis, figures, tables

TERMS = """\
- **The same for all rows of a bench**: student, order of cases, shifts, number of steps, optimiser and rate; the loss
  alone differs. A method's own settings were chosen on validation images (of equals, the lower loss there) with a seed that no
  row has. Rows say what was chosen, and whether it is the lowest or the highest of three or more values that were tried: a better one may lie
  beyond.
- **Candidates**: three for each method. Plain distillation's temperature and weight are chosen first, and are those of
  every method that adds a term to it (hints, feature maps, attention, adversarial; decoupled takes the temperature):
  these stand on three and three candidates. Feature maps, attention and adversarial can hardly lose, for with a small
  weight they are plain distillation; hints spends its first steps without soft targets, and decoupled weighs its terms
  otherwise: these can. Standardised logits and DIST have three in all. Born-again nets have none (T = 1, and a label
  weight of 0.5), nor have assistants (what was chosen for plain distillation). The choice is one seed's.
- **Lengths, batches and rates** are what two cores bear, and no method has its own. MNIST's students take batches of
  512 at 0.003, because at 256 the optimiser took a quarter of a step's time; on validation, two students of seeds that
  no row has made 150 and 149 errors with soft targets and 166 and 168 without, and 150, 133, 171 and 170 in batches of
  256 at 0.002. The others' take 6 passes at 0.045, which was chosen on validation for students without a teacher (two
  of seeds that no row has made 3058 and 2724 errors on the icons, at 0.06 3002 and 2845, at 0.02 3209 and 3040; on
  CIFAR-100 3907 and 3951, at 0.06 3945 and 3927, at 0.03 3951 and 3990).
- **What learns along with a student** (a discriminator, a regressor, exits) learns at the student's rate, though it is
  not batch-normalised as the students of the convolutional benches are, which bear high rates.
- **Candidates were changed once** (the icons' of self-distillation twice), after results on test had been seen: grids
  were moved off the ends that validation had chosen then, and plain distillation's, which had one weight of the labels,
  got two. On MNIST the need showed in the study of weights, on test images: a method had seemed better than plain
  distillation only because the latter's weight was poor. On the new grids, too, more than half of the choices are an
  end; a row of two values, as plain distillation's T on the icons, is always at one, and not marked.
- **One teacher** taught all rows: intervals are over students' seeds, and say nothing of other teachers, nor of other
  test images.
- **Time and memory** are those of training, the teacher's forward passes included and its training not, over plain
  distillation's: steps spread over the whole of training, timed in turn on one thread, as nets are trained (the
  median, the least and the most of five timings; differences of a tenth, or of what these five spread over, say
  nothing); memory is weights, optimiser's
  state, and what is kept for the backward pass, where it is most. Of nets that are trained one after the other, times
  are added up: a born-again net's teachers are students, and count. Where the images never change and the teacher is
  asked for nothing but logits, these are worked out once; their share of that, and they in place of the teacher,
  count. Hints on MNIST do more than they must: they ask the teacher for its features in the second stage too.
- **The verdict** is better or worse where the difference from plain distillation is clear of zero at the 5% level. *No
  distillation* is judged by itself, for whether distillation helps at all is the paper's own question (so decided
  after it had been seen that on MNIST it was, among sixteen others, just not clear); all other rows of the bench are
  looked at together (Holm 1979). Intervals are each row's own, and one that leaves out zero is not enough among so
  many.
- **Minus no distillation** is what rows that have no large teacher (label smoothing, self-distillation, born again)
  should be looked at by. The mean of three born-again nets is three nets at test time, too.
- **Agreement** is with the bench's teacher for all rows, those that it did not teach included.
- **The images of MNIST's student are not shifted** (as section 3's), so what the teacher is shown is studied on the
  convolutional benches alone.
- **Self-distillation's exits** from maps are separable convolutions, half as many as in the authors' code, which also
  has attention there, and a linear layer; on MNIST they are linear alone. The authors' code has no T squared in
  front of what the exits are taught, so that the weights tried start at a tenth of theirs, on MNIST at a third.
- **Hints' two stages** share one schedule: the first, where it is short, lies within the warm-up, and the second
  starts near the highest rate. **Adversarial**: the discriminator is shown the class and reverses its gradient in the
  same step, with soft targets beside it; its source has it name the class, alternates steps, and has an L1 distance of
  logits.
- **Smaller teachers** of the capacity gap are trained as the teacher is, dropout and all, and their students at the
  temperature chosen for the bench's own student; what others do to small students stands among the temperatures.
  Teachers of fewer passes have a whole schedule of that length: they are not a long one's snapshots.
- **Gradient attention** stands for attention transfer where the nets are fully connected and have no maps.
- **Born again**: each generation has the student's own shape, is taught by the one before at T = 1 with labels, and
  starts from new weights; it sees the cases and views that the other rows of its seed see. **By way of assistants**:
  nets of sizes between teacher's and student's, each taught by the one above it with the settings chosen for soft
  targets; one chain of assistants teaches the students of all seeds.
- These are small nets, short runs and few candidates: that a method does not help here does not say that it helps
  nowhere. Its own paper's figures, on other nets and data, stand in *sources*."""


# Columns that a terminal has no room for.
NOT_ON_SCREEN = ("minus no distillation", "agrees with the teacher", "time", "memory")


def headline(found: list[Record]) -> Table | str:
    """The methods for the screen."""
    if not analysis.plain(found):
        return "nothing is finished yet"
    title, make = tables.TABLES["summary"]
    return terminal.table(title, make(found).drop(columns=[*NOT_ON_SCREEN]))


def sections(folder: Path) -> list[Section]:
    """One for each bench that there are records of."""
    order = ("mnist", "icons")
    settings = sorted(records.datasets(folder, "variants"), key=lambda name: (*order, name).index(name))
    parts = [part for name in settings if (part := _section(folder, name)) is not None]
    benches = {part.dataset: part.records for part in parts if analysis.plain(part.records)}
    made = {"benches": ("Methods on every bench: test accuracy in percent, minus plain distillation's; † told apart from it",
                          tables.benches(benches)),
              "sources": ("What the methods' own papers print, on other nets and data", tables.sources())}  # fmt: skip
    every = [record for part in parts for record in part.records]
    remarks = of_others(every) | {"On equal terms": TERMS}
    whole = Section("variants", "all", "Variants: all benches", [], made, {}, [], remarks)
    return [whole, *parts] if benches else parts


def _section(folder: Path, dataset: str) -> Section | None:
    found = records.load(folder, "variants", dataset)
    if not found:
        return None
    made = {name: (title, make(found)) for name, (title, make) in tables.TABLES.items()}
    drawn = {
        "methods": ("Each method over plain distillation, paired by seed.", bool(analysis.plain(found))),
        "cost": (
            "What a method gains against what training by it costs.",
            bool(analysis.plain(found)) and any(r["arm"].startswith("cost") for r in found),
        ),
        "fidelity": ("Accuracy against agreement with the teacher.", bool(analysis.plain(found))),
        "gap": ("Capacity gap: every teacher with every student.", len(tables.gap_rows(found)) > 1),
        "temperature": (
            "Temperature against the student's size"
            + (" and the weight of the labels." if select(found, "temperature and weight") else "."),
            bool(select(found, "temperature and size")),
        ),
        "view": ("What the teacher is shown.", bool(select(found, "view"))),
    }
    plots = {name: (caption, partial(getattr(figures, name), found))
               for name, (caption, there) in drawn.items() if there}  # fmt: skip
    return Section("variants", dataset, f"Variants: {dataset}", found, made, plots, [], {})
