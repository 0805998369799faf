"""Sections 5, 6.1 and 8 on specialists as they are reported, and what is to be said beside them."""

from functools import partial
from pathlib import Path

from rich.table import Table

from repro.report import records, terminal
from repro.report.query import of_others
from repro.report.records import Record
from repro.report.section import Section
from repro.report.specialists import analysis, figures, tables
from repro.report.specialists.analysis import MAIN

DEVIATIONS = """\
- **Data and scale.** The icons are 1,196 things (*alarm clock*, *anchor*) as many sets of icons draw them, 32x32 pixels
  in grey: 31,619 training, 3,893 validation and 6,735 test images. No family of authors draws for two of the parts, so
  that these differ in difficulty. The paper's JFT (100M images, 15,000 classes) is Google's own; 61 specialists of 300 classes stood
  beside a net of six months. What is judged is what does not depend on the corpus: that there is a gain, how large it
  is beside what was right before, and that it grows with the number of covering specialists. The paper's accuracies are
  shown beside ours and not judged.
- **A gain over the generalist is what the paper reports, and says little by itself**: training the generalist longer, or
  averaging two, brings some of it, or more (*What as much cost buys otherwise*). And its size depends on the generalist's
  width, which was chosen knowing that specialists help a narrow net more (below).
- **Table 3 is of the paper's development set, Table 4 of its test set.** Ours are of the test images both; Table 3's of
  the validation images stand below them.
- **Soft targets are of the images as they are**, while the nets that learn from them see these images shifted (and, of
  photographs, mirrored): in section 6.1's specialists and in the nets that are distilled back.
- **The generalist is held small**; what a wider one leaves for specialists to gain is a row of its own on icons.
- **The subsets overlap more than the paper's**, whose 61 of 300 classes cover each of 15,000 about once: here a class is
  in two or three on the mean, and a specialist has a twentieth of the icons' classes (an eighth of CIFAR-100's), not a
  fiftieth. Images whose class no specialist covers can change, too; the paper prints 0 for them.
- **k-means sees the covariance as correlations**, each column scaled to unit length, its diagonal entry replaced by the
  largest other one of the column: a class's own variance, much the largest entry, would split off single classes.
- **Equation 5 is solved by its fixed point** (an expectation-maximisation step: every specialist's dustbin mass is shared
  out in proportion to q), which needs no step size. Gradient descent on z, the paper's way, agrees with it (tested)."""

UNSAID = """\
| the paper does not say | chosen here |
|---|---|
| optimiser, lengths, rates, batch of specialists | as in the profile, chosen on the validation images of the icons (below) |
| how the subsets come to overlap | each is the set number of classes whose columns of the covariance lie nearest to a k-means centre |
| where the dustbin's weights come from | the mean of the generalist's rows of these classes, its bias raised by the log of their number |
| on which images the covariance is taken | the training images, without labels |
| "the proportion by which the special class is oversampled" | the ratio of the odds of special classes in a batch and in the training set; its log is added to the dustbin's logit |
| conditional accuracy with many specialists | an image counts once for each specialist that covers its class, and is right when the most probable of that specialist's classes is its own |
| which generalists an ensemble holds | each seed its own: the generalist and others that differ from it in initial weights and order of cases |
| steps and step size of the gradient descent on z | none needed (above) |
| 6.1's loss | (1 − w) T² KL over the non-special classes, softened among themselves, + w CE with labels over all classes |"""

CHOSEN = """\
On the validation images of the icons, by hand, with one seed; the test images had no part in it. Generalists of width 8
and 16, of 30, 40 and 60 passes, of weight decays 1e-4 and 5e-4: 40 passes did as well as 60 in one run from the start
(another 20 after the end, at a lower rate and a fifth of the decay, do bring more: the control); at width 16 specialists did
not help, for the generalist of that trial already told four fifths of its training images apart (*What the gain depends
on* shows other widths, of today's recipe). Specialists at rates of 0.02 to 0.2 and of 4 to 16 passes. Nets distilled back did worse than the
generalist when they started from new weights, and at T = 2, and with the generalist's weight decay; what is shown starts
from the generalist's weights, at T = 1, with a fifth of that decay, which served the control on hard targets better too.
CIFAR-100 has the same recipes but for passes, jitter, and number and size of specialists."""

FIGURES = {
    figures.cover: "Relative gain against the number of covering specialists, beside the paper's Table 4.",
    figures.by_specialist: "Gain of each specialist within its own classes.",
    figures.gain_by_setting: "What the gain depends on (further values: *studies*).",
    figures.equal_cost: "Specialists against ensembles of generalists, and longer training, by cost.",
}
SHOWN = {
    figures.contact_sheet: "Clusters of confusable classes: example images and names (Table 2).",
    figures.covariance: "The covariance of the generalist's predictions, as correlations, ordered by specialist.",
    figures.changed: "Where equation 5 made a decision right or wrong.",
}


def headline(found: list[Record]) -> Table | str:
    """Table 3 for the screen."""
    if analysis.gain(found) is None:
        return "nothing is finished yet"
    title, make = tables.TABLES["table3"]
    return terminal.table(title, make(found).drop(columns=["seeds"]))


def sections(folder: Path) -> list[Section]:
    """One for each data set that there are records of."""
    settings = sorted(records.datasets(folder, "specialists"), key=lambda name: name != "icons")
    return [part for name in settings if (part := _section(folder, name)) is not None]


def _section(folder: Path, dataset: str) -> Section | None:
    found = records.load(folder, "specialists", dataset)
    if not found:
        return None
    plots, made = {}, {name: (title, make(found)) for name, (title, make) in tables.TABLES.items()}
    shown = records.load_shown(folder, "specialists", dataset)
    if shown is not None:
        plots = {draw.__name__: (caption, partial(draw, shown)) for draw, caption in SHOWN.items()}
        title = "Table 2: classes of some specialists, the most confusable first, of ours the first dozen"
        made = {"table2": (title, tables.clusters(shown))} | made
    if any(record["arm"] == MAIN for record in found):
        plots |= {draw.__name__: (caption, partial(draw, found)) for draw, caption in FIGURES.items()}
    if not figures.varied(found):
        plots.pop(figures.gain_by_setting.__name__, None)
    remarks = of_others(found) | {
        "Deviations from the paper": DEVIATIONS,
        "What the paper leaves unsaid": UNSAID,
        "How the recipes were chosen": CHOSEN,
    }
    claims = analysis.findings(found)
    return Section("specialists", dataset, f"Specialists: {dataset}", found, made, plots, claims, remarks)
