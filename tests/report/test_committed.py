"""Committed reports follow from the committed records, and these from the committed profiles."""

import importlib
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from pydantic import BaseModel
from rich.console import Console

from repro import config
from repro.config_search import SearchedSettings, combinations
from repro.mnist.settings import MnistSettings
from repro.report import build, plotting, records
from repro.report.pages import reproduce
from repro.report.query import select
from repro.specialists.settings import SpecialistsSettings
from repro.speech.settings import SpeechSettings
from repro.training.recipe import Recipe
from repro.variants.settings import VariantsSettings

ROOT = Path(__file__).parents[2]


def test_committed_reports_are_what_the_committed_records_give(tmp_path, figures_are_stubs, read_files):
    """Tables, claims and pages to the byte; figures by name, for their pixels depend on the fonts' version."""
    shutil.copytree(ROOT / "results", tmp_path / "results")
    pages = ("README.md", "REPRODUCE.md")
    committed = read_files(ROOT / "results") | {name: (ROOT / name).read_bytes() for name in pages}
    emptied = reproduce.GLANCE_BLOCK.sub(r"\1\2", (ROOT / "README.md").read_text())
    assert len(emptied) < len(committed["README.md"])
    for made in [*tmp_path.rglob("*.md"), *tmp_path.rglob("*.csv")]:
        made.unlink()
    (tmp_path / "README.md").write_text(emptied)
    build.report(tmp_path)
    again = read_files(tmp_path / "results") | {name: (tmp_path / name).read_bytes() for name in pages}
    assert again == committed
    assert {path.name for path in (tmp_path / "figures").rglob("*.*")} == {
        path.name for path in (ROOT / "figures").rglob("*.*")
    }


def test_committed_records_come_from_clean_commits_and_the_committed_profiles():
    folders = [path.parent for path in sorted((ROOT / "results").glob("*/*/records.jsonl"))]
    assert {"paper", "icons"} <= {folder.name for folder in folders}
    for folder in folders:
        named = folder.name.replace("-", "_")
        profile = named if named in config.COMMITTED[folder.parent.name] else "paper"
        for record in load(folder.parent.name, folder.name):
            assert len(record["commit"]) == 40 and record["profile"] == profile and not record["overrides"]
    for bench in [json.loads(file.read_text()) for file in (ROOT / "results").glob("bench*.json")]:
        assert len(bench["commit"]) == 40 and bench["machine"]["bf16_units"]
        for ratio in bench["ratios"].values():
            assert ratio["low"] <= ratio["value"] <= ratio["high"] and ratio["runs"] >= 3


SETTINGS = {
    "mnist": MnistSettings, "specialists": SpecialistsSettings, "speech": SpeechSettings, "variants": VariantsSettings,
}  # fmt: skip
# What is derived from the profile's recipes, by arm.
DERIVED = {
    "data_fraction": "epochs",
    "generalist_trained_longer": "epochs",
    "other_teacher": "epochs",
    "teacher_view": "epochs",
    "translated_transfer_set": "max_translation",
}
DATASETS = [
    (path.parents[1].name, path.parent.name)
    for path in sorted(ROOT.glob("results/*/*/records.jsonl"))
    if path.parent.name != "choice"  # a search of many recipes
]


def load(experiment: str, folder: str) -> list[records.Record]:
    """The committed records of a results folder."""
    dataset = experiment if folder == records.folder_name(experiment, experiment) else folder
    return records.load(ROOT, experiment, dataset)


def recipes_in(value) -> list[dict]:
    """All recipes in some settings."""
    if isinstance(value, Recipe):
        return [value.model_dump(mode="json")]
    parts = [getattr(value, name) for name in type(value).model_fields] if isinstance(value, BaseModel) else value
    return [recipe for part in parts for recipe in recipes_in(part)] if isinstance(parts, (list, tuple)) else []


def searched_recipes(settings: SearchedSettings) -> list[dict]:
    """All recipes that a search can try: a later stage goes on with any value of an earlier one."""
    values: dict[str, dict[str, list]] = {}
    for stage in settings.search.stages:
        for name, tried in stage.items():
            recipe, _, _ = name.rpartition(".")
            values.setdefault(recipe, {}).setdefault(name, [settings.value(name)]).extend(tried)
    candidates = [settings.changed(each) for of_recipe in values.values() for each in combinations(of_recipe)]
    return [recipe for candidate in candidates for recipe in recipes_in(candidate)]


@pytest.mark.parametrize(("experiment", "folder"), DATASETS)
def test_committed_records_follow_the_committed_profile(experiment, folder):
    runs = load(experiment, folder)
    settings = config.load(SETTINGS[experiment], config.profile_path(experiment, runs[0]["profile"]))
    known = recipes_in(settings)
    assert known
    if getattr(settings, "search", None) is not None:
        known += searched_recipes(settings)
    if experiment == "variants":
        teacher = settings.teacher.recipe.model_dump(mode="json")
        fractions = settings.capacity_gap.early_stopped_fractions
        known += [teacher | {"epochs": fraction * teacher["epochs"]} for fraction in fractions]
    for run in [run for run in runs if run["settings"].get("recipe")]:
        ignored = DERIVED.get(run["arm"])
        recipe, *others = (
            {name: value for name, value in candidate.items() if name != ignored}
            for candidate in (run["settings"]["recipe"], *known)
        )
        assert recipe in others, run["arm"]
    for method in getattr(settings, "methods", ()):
        tried = [run["settings"]["options"] for run in select(runs, "search", name=method.name)]
        for options in method.grid if len(method.grid) > 1 else ():
            assert any(options.items() <= options_tried.items() for options_tried in tried), (method.name, options)


@pytest.mark.parametrize(
    ("experiment", "dataset", "gone"),
    [
        ("variants", "icons", lambda r: r["seed"] != 0 and r["arm"] not in ("timing", "teacher", "capacity_gap")),
        ("variants", "icons", lambda r: r["params"].get("name") == "KD" and r["arm"] == "method"),
        ("variants", "icons", lambda r: r["arm"] == "capacity_gap" and r["params"]["distilled_from"] == "no teacher"),
        ("speech", "synth", lambda r: r["arm"] == "decode" and r["params"]["system"] == "single"),
        ("specialists", "cifar100", lambda r: r["arm"] == "redistilled"),
    ],
)
def test_incomplete_committed_results_are_drawn(experiment, dataset, gone, tmp_path):
    """Rows that lack some seeds or models, as after more were requested, are left out whole."""
    runs = records.load(ROOT, experiment, dataset)
    remaining = [record for record in runs if not gone(record)]
    assert len(remaining) < len(runs)
    records.save(tmp_path, experiment, dataset, remaining)
    sections = [section for find in build.SECTIONS for section in find(tmp_path)]
    with plotting.defaults():
        assert [draw() for section in sections for _, draw in section.figures.values()]


def test_synthetic_speech_is_named_on_every_page_and_figure():
    figures = sorted((ROOT / "figures/speech/synth").glob("*.svg"))
    assert figures
    for file in (*figures, ROOT / "figures/scorecard.svg", ROOT / "results/speech/synth/README.md"):
        assert "synthetic speech" in file.read_text(), file
    for page in ("REPRODUCE.md", "results/index.html"):
        assert "synth (synthetic speech)" in (ROOT / page).read_text()
    assert "synthetic speech" not in (ROOT / "figures/speech/speechocean762/temperature.svg").read_text()


HEADLINES = {"mnist": "mnist", "specialists": "letters", "speech": "synth", "variants": "icons"}


@pytest.mark.parametrize(("experiment", "dataset"), HEADLINES.items())
def test_headlines_fit_a_terminal_of_80_columns(experiment, dataset):
    """A terminal would fold longer lines."""
    runs = records.load(ROOT, experiment, dataset)
    headline = importlib.import_module(f"repro.report.{experiment}.section").headline(runs)
    console = Console(width=80)
    with console.capture() as capture:
        console.print(headline, soft_wrap=True)
    assert max(map(len, capture.get().splitlines()[1:])) <= 80  # after the title
    shown = {"mnist": ("mnist/paper/headline.csv", "95% CI"),
             "specialists": ("specialists/letters/table3.csv", "95% CI over seeds")}  # fmt: skip
    if experiment in shown:
        file, column = shown[experiment]
        assert pd.read_csv(ROOT / "results" / file)[column][0] in capture.get()
