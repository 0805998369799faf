"""One language: no retired word or name in code, configuration, documentation or generated pages.

Each table maps what is retired to the standard term, which the failure shows.
"""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
TEXT = {".py", ".md", ".toml", ".html", ".j2", ".csv", ".txt", ""}
FOLDERS = ("repro", "tests", "docs", "paper_configs", "results", ".ci")
FILES = ("README.md", "REPRODUCE.md", "CONTRIBUTING.md", "Makefile", "pyproject.toml")
# Not searched: this table; the values of random streams, which are hashed into seeds; texts that are data.
EXCEPT = {
    "tests/test_language.py",
    "repro/training/random_streams.py",
    "repro/data/icons/names.py",
    "repro/data/icons/files/ATTRIBUTION.md",
    "repro/data/letters/files/ATTRIBUTION.md",
    "repro/data/speech/synth/files/rules.txt",
    "repro/data/speech/synth/files/words.txt",
}

# Words and phrases, without regard to case; blanks match any white space.
PHRASES = {
    r"told apart|not apart": "significantly different / no significant difference",
    r"by way of": "teacher assistant; through",
    r"anew": "regenerate; again",
    r"sittings?": "before resuming",
    r"goes? on from": "resume from",
    r"dearest": "most expensive",
    r"spoilt|spoils?": "broken, damaged",
    r"for nothing": "needlessly",
    r"nobody says|no one says": "undocumented",
    r"do(?:es)? not bear": "does not support",
    r"hangs? together": "is connected",
    r"draw by lot": "random sampling",
    r"(?:best|last|first|final|each|every|ten|of|between|per|quick) looks?|looked at|looks at": "evaluation, evaluated",
    r"so many(?:th)?|so much of it": "name the number; every n-th",
    r"what came out": "results",
    r"(?:leaves|left) unsaid": "unspecified in the paper",
    r"as much cost buys": "equal-compute baselines",
    r"not held exactly": "precision of stored soft targets",
    r"one thing varied": "ablations",
    r"on equal terms": "protocol",
    r"would cost\b.{0,12}\bscales?": "estimated cost at the paper's scale",
    r"plain distillation": "KD, vanilla KD",
    r"weight of the labels|(?<!hard-)label weight|hard weight": "hard-label weight",
    r"passes (?:over|through)|(?<!forward\s)(?<!backward\s)(?:a|each|every|per|more|fewer|\d+) pass(?:es)?": "epochs",
    r"few(?:er)? data": "data fraction",
    r"shares? of (?:the )?(?:data|cases|images|utterances|steps|speakers|epochs|classes)": "fraction of",
    r"multiply-adds": "MACs",
    r"agrees with the teacher": "teacher agreement",
    r"test bench(?:es)?": "testbed",
    r"further generalists?": "extra generalist",
    r"hard targets, longer": "generalist, trained longer",
    r"narrower, distilled|distilled from fewer nets|distilled, same speech|few transcripts": "see the arms of speech",
    r"passed over": "skipped",
    r"stands? there twice": "duplicate",
    r"nothing is finished yet": "no completed runs yet",
    r"all on one page": "full report",
    r"not from there": "download failed",
    r"for want of": "out of, lack of",
    r"minus soft targets|minus single net|above the best": "delta vs ...",
    r"taught": "trained on soft targets, distilled from",
    r"clear of (?:the noise|zero|nought)": "significant; excludes zero",
    r"of the accuracy itself": "95% CI",
    r"should be (?:left out|given|above|below|at most|at least|digits|one|less|\d+)": "must be",
    r"(?:gains?|drops?) of (?:test |frame )*accuracy": "gain in accuracy",
    r"(?:made|fetched) again": "retrained; executed again; downloaded again",
}

# Hits that are allowed: files, what is matched there, and why.
ALLOWED = [
    # Names of candidates are stored in records of the search.
    (r"paper_configs/mnist/choice\.toml|results/mnist/choice/.*", "hard weight"),
    # Arms of records, with blanks for underscores.
    (r"results/speech/\w+/README\.md", "few transcripts"),
]

# Names that code defines: classes, functions, parameters, variables and attributes.
NAMES = {
    "looks": "num_evals", "curve_points": "num_evals", "hard_weight": "hard_label_weight",
    "hard_weights": "hard_label_weights", "role": "arm", "roles": "arms", "study_seeds": "ablation_seeds",
    "studies": "ablations", "Studies": "Ablations", "shortened": "early_stopped_fractions",
    "most_active": "max_active_hmms", "lowest_shift": "bias_shift.min", "highest_shift": "bias_shift.max",
    "shift_step": "bias_shift.step", "no3": "without_3", "only78": "only_7_8", "special_share": "special_fraction",
    "more_generalists": "extra_generalists", "distilled_back": "redistill", "drop_input": "input_dropout",
    "drop_hidden": "hidden_dropout", "warmup": "warmup_fraction", "jitter": "max_translation",
    "population_weights": "max_batched_params", "train_cases": "max_train_examples", "cost_steps": "timing_steps",
    "curve_frames": "curve_eval_frames", "NOT_APART": "NOT_SIGNIFICANT", "UNSAID": "UNSPECIFIED", "TERMS": "PROTOCOL",
    "NUMERICS": "CODE_DEPENDENCIES", "MEASUREMENT": "RECORD_VERSION", "COSTING": "TIMING_VERSION",
    "carry_out": "execute", "made_of": "key_inputs", "asked": "request_metadata", "tensors_of": "load_tensors",
    "kept": "name what is kept", "watch": "progress", "Loop": "Trainer", "Training": "MLPTrainer",
    "ImageTraining": "ImageTrainer", "FrameTraining": "FrameTrainer", "VariantTraining": "DistillationTrainer",
    "Population": "BatchedMLP", "Nets": "Model", "Net": "ModelConfig, NetRun, Model", "Member": "MemberSpec",
    "precise_logits": "fp32_logits", "Noise": "Dropout", "Order": "BatchSampler",
    "jitter_offsets": "random_translations", "picked": "batch_indices", "mirrored": "horizontal_flip",
    "constrain": "clip_weight_norms", "Seen": "ModelOutput", "Watching": "FeatureExtractor", "Adding": "KDPlusTerm",
    "looks_at_pixels": "needs_input_grad", "same_places": "match_spatial_size", "by_pixels": "input_gradient",
    "inherits": "shared_options", "untaught": "no_kd_baseline", "ahead": "gains", "clear": "is_significant",
    "looks_of": "marker_styles", "SideBySide": "LocalPoolExecutor",
    "Reported": "ForwardingProgress", "Unseen": "NullProgress", "Shipped": "RunnerSpec", "lifeline": "parent_alive",
    "some_done": "wait_any", "is_here": "runs_in_driver", "one_after_another": "serial_executor",
    "Damaged": "CorruptFile", "set_aside": "quarantine",
    "results_held": "results_lock", "held_interrupts": "block_sigint", "remove_unfinished": "remove_partial_files",
    "Sittings": "CliSession", "share": "fraction", "shares": "fractions", "Share": "Fraction",
    "found": "name the value", "one": "name the value", "own": "name the value", "what": "name the value",
    "where": "name the value", "said": "name the value", "taught": "name the value",
}  # fmt: skip
SPELLING = re.compile(r"(?i)optimis|standardis|normalis|initialis|colour|behaviour|centre|grey")

# Keys of profiles; those above are retired here, too.
KEYS = {
    "temperatures.temperatures": "temperature_sweep.temperatures", "extra_temperatures": "widest_only_temperatures",
    "units": "hidden_units", "sizes": "data_fractions", "share": "fraction", "kept": "transfer_classes",
    "shifted": "shift_classes", "parts": "data_fractions", "every": "eval_frame_stride", "words": "decoding",
    "scales": "acoustic_scales", "held_out": "validation_speaker_fraction", "chains": "sequential",
    "gap": "capacity_gap", "views": "teacher_views", "active": "top_n", "role": "kind", "batch": "batch_size",
    "optimiser": "optimizer", "patience": "removed",
}  # fmt: skip

# First words of docstrings that make no sentence by themselves.
FRAGMENT = re.compile(
    r"(?:What|How|Where|Whose|Which|Why|When|Of|At|So|It|Its|They|Their|That|Those|As|To|Whether (?:it|they|there))\b"
)


def paths(suffixes: set[str] = TEXT) -> list[Path]:
    """Return the files that are searched, relative to the repository."""
    listed = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")] + [ROOT / name for name in FILES]
    files = [path for path in listed if path.is_file() and path.suffix in suffixes and "__pycache__" not in path.parts]
    return sorted(path for path in (file.relative_to(ROOT) for file in files) if path.as_posix() not in EXCEPT)


def area(path: Path) -> str:
    """Return the part of the repository that a file is in: ``repro/kd``, ``repro/report/mnist``, ``README.md``."""
    depth = 3 if path.parts[:2] == ("repro", "report") else 2
    return "/".join(path.parts[:-1][:depth]) or path.name


AREAS = sorted({area(path) for path in paths()})
CODE = sorted({area(path) for path in paths({".py"})})


def phrases(path: Path) -> Iterator[str]:
    """Yield the retired words and phrases in a file, with their lines."""
    text = (ROOT / path).read_text(encoding="utf-8")
    for pattern, standard in PHRASES.items():
        blank = pattern.replace(" ", r"[\s#]+")
        for match in re.finditer(rf"(?i)\b(?:{blank})\b", text):
            if any(re.fullmatch(files, path.as_posix()) and re.fullmatch(hit, match[0]) for files, hit in ALLOWED):
                continue
            line = text.count("\n", 0, match.start()) + 1
            yield f"{path}:{line}: {' '.join(match[0].split())!r} -> {standard}"


def names(path: Path) -> Iterator[str]:
    """Yield the retired names that a module defines, with their lines."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        name = None
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            name = node.name
        elif isinstance(node, ast.arg):
            name = node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            name = node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            name = node.attr
        if name is None:
            continue
        if standard := NAMES.get(name.lstrip("_")):
            yield f"{path}:{node.lineno}: {name} -> {standard}"
        elif SPELLING.search(name):
            yield f"{path}:{node.lineno}: {name} -> American spelling"


def docstrings(path: Path) -> Iterator[str]:
    """Yield the docstrings of a module whose first line is no sentence that stands alone."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
            first = text.partition("\n\n")[0]
            if FRAGMENT.match(first) or first.startswith("TODO") or first.rstrip()[-1] not in ".:":
                yield f"{path}:{getattr(node, 'lineno', 1)}: {first.splitlines()[0]!r}"


def keys(path: Path) -> Iterator[str]:
    """Yield the retired keys of a profile, dotted."""

    def walk(value: Any, prefix: str) -> Iterator[str]:
        if isinstance(value, list):
            for item in value:
                yield from walk(item, prefix)
        if isinstance(value, dict):
            for name, item in value.items():
                dotted = f"{prefix}.{name}".lstrip(".")
                if standard := KEYS.get(dotted) or KEYS.get(name) or NAMES.get(name):
                    yield f"{path}: {dotted} -> {standard}"
                yield from walk(item, dotted)

    yield from walk(tomllib.loads((ROOT / path).read_text(encoding="utf-8-sig")), "")


def report(hits: Iterator[str]) -> str:
    """Return the different hits as lines, the first 60 of them."""
    lines = list(dict.fromkeys(hits))
    return "\n".join([*lines[:60], *([f"... and {len(lines) - 60} more"] if len(lines) > 60 else [])])


@pytest.mark.parametrize("part", AREAS)
def test_no_retired_word_is_used(part):
    hits = report(hit for path in paths() if area(path) == part for hit in phrases(path))
    assert not hits, hits


@pytest.mark.parametrize("part", CODE)
def test_no_retired_name_is_defined(part):
    hits = report(hit for path in paths({".py"}) if area(path) == part for hit in names(path))
    assert not hits, hits


@pytest.mark.parametrize("part", CODE)
def test_every_docstring_begins_with_a_sentence(part):
    hits = report(hit for path in paths({".py"}) if area(path) == part for hit in docstrings(path))
    assert not hits, hits


@pytest.mark.parametrize(
    "experiment", sorted(path.name for path in (ROOT / "paper_configs").iterdir() if path.is_dir())
)
def test_no_retired_key_is_in_a_profile(experiment):
    hits = report(
        hit for path in paths({".toml"}) if path.parts[:2] == ("paper_configs", experiment) for hit in keys(path)
    )
    assert not hits, hits
