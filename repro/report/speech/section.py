"""Sections 4 and 6 as they are reported, and what is to be said beside them."""

from functools import partial
from pathlib import Path

from rich.table import Table

from repro.report import records, terminal
from repro.report.plotting import marked
from repro.report.query import of_others, select
from repro.report.records import Record
from repro.report.section import Section
from repro.report.speech import analysis, figures, tables

DEVIATIONS = """\
- **Data and scale.** The paper's 2,000 hours of voice search are Google's own, and so are its 14,000 states and nets of
  85M weights (`paper_configs/speech/paper_scale.toml` has their hidden layers; with 5,126 states, 62M). What is judged is what does not depend on the
  corpus: gains over the single net. Accuracies and word error rates stand beside the paper's and are not judged
  themselves.
- **Nets with hard targets take three passes, their students four**, chosen on validation with an earlier ensemble. On
  speechocean762 students of eight do a little better there, and keep more of the gain (*Beyond the paper*, and the claim's
  remark): length and temperature decide whether 80% are met. On few data both take the same steps, a length that
  was chosen with soft targets; hard ones are stopped at one of ten looks. Where that is the first, an earlier stop might
  have been better: hard targets' accuracy is then a lower bound, and what soft ones recover, and hard ones lose by the
  end, an upper and a lower one.
- **Intervals draw nets and test speakers anew** where the remark or title says so. With three students, drawing nets anew
  understates their spread: these intervals are somewhat too narrow. An ensemble is one, and the same for all its students:
  intervals say nothing of other ensembles. Temperatures were compared on the validation speakers alone, of whom there are
  about ten.
- **The decoder's own acoustic model** is there for orientation: its weights and penalties are its own, and not tuned.
- **The states are pocketsphinx's.** Its US English model, a Gaussian mixture model of 5,126 tied states, aligns the
  transcripts; its alignment is the target, right or wrong, as the paper's was.
- **Soft targets of Table 1 are those of the geometric mean** of the ten nets' probabilities (section 2 allows both
  means): its logits serve every temperature. A student of the arithmetic mean stands beside them. The ensemble itself is
  the arithmetic mean, as the paper's.
- **Soft targets are computed on the way**, or kept in half precision where the frames are few: for all of
  speechocean762 they would take 10 GB (10 kB a frame). *Soft targets not held exactly* says what that changes; its first
  two rows hold the rounding of the teachers' bf16 products as well, the *top* rows, cut from fp32 logits, do not.
- **Precision.** All matrix products are bf16 where the processor has units for it, at test time as in training, and so
  are the logits and their gradient; weights, updates, exponentials and sums are fp32. Every record says which it was.
- **Not every frame of validation and test is counted** (setting `every`), in all utterances: frames 10 ms apart say
  nearly the same. Decoding takes all of them.
- **Word error rates** are of some utterances of every test speaker that could be aligned, decoded by pocketsphinx's
  search with the nets' scores, one trigram model and the words of the training transcripts (a test word that is not
  among them is an error), and the acoustic scale that is best on validation utterances."""

SYNTHETIC = """\
The speech of this setting is **made by a formant synthesiser** (eSpeak NG) from a small grammar, with many voices,
accents, noise and reverberation. It is far from real speech, and so are its accuracies and word error rates; it is here
so that everything can be run, and changed, without any download."""

UNSAID = """\
| the paper does not say | chosen here |
|---|---|
| optimiser, rates, lengths, batch | as in the profile |
| whether the relative weight of 0.5 on hard targets is a ratio or a share | a share: (1 − w) T² KL(soft) + w CE(hard), w = 0.5 |
| how features are normalised | mean and variance of each speaker's frames |
| what the dev set is | speakers of train set apart; test speakers occur in no other part |
| teacher, temperature and hard weight of section 6 | the whole ensemble, Table 1's best temperature, no hard targets |
| which 3% | whole utterances, drawn anew for each seed |
| when the hard run is stopped early | where its validation errors were fewest, of the looks in its curve |
| how long the soft run is | as long as the hard one: both take the same steps from the same weights |"""

CHOSEN = """\
On held-out speakers of speechocean762's training part, by hand, with one ensemble. Recipes were compared on those
speakers alone, but that the first recipe was too short had been seen on the test set too before a second was chosen.
First, at batches of 1024 and two passes, rate 2e-3 was better than 1e-3, and width 256 a little better than 128; 192 was
taken for time. The students of that recipe kept half of the ensemble's gain (0.51, not reproduced), on test as on
validation, so lengths were tried again (validation frame accuracy, batches of 512, rate 1.5e-3): two passes gave single
nets 33.9 and the mean of ten 35.2; three gave 34.1 and the mean of four of them 35.6, which was taken. Students of the two-pass
ensemble: two passes 34.9 at T = 1 and 34.8 at T = 2; four 35.5 at either, which was taken. On 3% of the data with soft
targets: 30 passes in batches of 512 32.9, 40 in batches of 256 33.4; 30 in batches of 256, between the two, were
taken. Of acoustic scales
from 0.4 to 0.85, on 120 utterances, those of the first nets were best between 0.4 and 0.65; each system uses whichever
of 0.4, 0.5 and 0.65 is best for it on validation utterances.
Synthetic speech takes the same recipes. Where its 3%, about 145 seconds of speech, recovered 0.60, 90 passes instead of
30 were tried afterwards: one draw recovered 0.67 (test frame accuracy 24.8), so that the speech is what is short; not
taken."""

FIGURES = {
    "ensemble_size": "Gain over a single net against the number of nets, of ensembles and of their students.",
    "temperature": "Frame accuracy and word error rate of the students against T.",
}
FEW = {
    "few_data_curves": "Train and test accuracy on the way, by hard targets and by soft ones.",
    "share_of_data": "Test accuracy against the share of the data.",
}


def headline(found: list[Record]) -> Table | str:
    """Table 1 for the screen."""
    if not analysis.ensemble(found):
        return "nothing is finished yet"
    title, make = tables.TABLES["table1"]
    return terminal.table(title, make(found).drop(columns=["spread over nets"]))


def sections(folder: Path) -> list[Section]:
    """One for each corpus that there are records of."""
    return [part for name in records.datasets(folder, "speech") if (part := _section(folder, name)) is not None]


def _section(folder: Path, dataset: str) -> Section | None:
    found = records.load(folder, "speech", dataset)
    if not found:
        return None
    made = {name: (title, make(found)) for name, (title, make) in tables.TABLES.items()}
    drawn = (FIGURES if select(found, "distilled") else {}) | (FEW if select(found, "few data, hard targets") else {})
    plots = {name: (caption, partial(getattr(figures, name), found)) for name, caption in drawn.items()}
    remarks = of_others(found) | {
        "Deviations from the paper": DEVIATIONS,
        "What the paper leaves unsaid": UNSAID,
        "How the recipes were chosen": CHOSEN,
    }
    shown = records.load_shown(folder, "speech", dataset)
    if shown is not None:
        made["left_out"] = ("Utterances left out, or changed, by reason", tables.left_out(shown))
        caption = "An utterance: filterbanks, words, phones, and the tied states that are the targets, right or wrong."
        plots["utterance"] = (caption, partial(figures.utterance, shown))
    name = dataset
    if shown is not None and shown["synthetic"]:
        name = f"{dataset} (synthetic speech)"
        remarks = {"Synthetic speech": SYNTHETIC} | remarks
        made = {file: (f"{title} (synthetic speech)", table) for file, (title, table) in made.items()}
        plots = {
            file: (f"{caption} Synthetic speech.", partial(marked, draw, "synthetic speech"))
            for file, (caption, draw) in plots.items()
        }
    return Section("speech", dataset, f"Speech: {name}", found, made, plots, analysis.findings(found), remarks)
