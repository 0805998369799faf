"""What is committed is what the committed records and profiles give."""

import json
import shutil
from pathlib import Path

import pytest
from pydantic import BaseModel

from repro import config
from repro.mnist.settings import MnistSettings
from repro.report import build, records
from repro.report.pages import reproduce
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


def test_committed_records_are_of_clean_commits_and_of_the_paper_profile():
    folders = [path.parent for path in sorted((ROOT / "results").glob("*/*/records.jsonl"))]
    assert {"paper", "icons"} <= {folder.name for folder in folders}
    for folder in folders:
        own = folder.parent.name == "variants" or folder.name in ("choice", "cifar100", "speechocean762")
        profile = folder.name if own else "paper"
        for record in records.load(ROOT, folder.parent.name, folder.name):
            assert len(record["commit"]) == 40 and record["profile"] == profile and not record["overrides"]
    bench = json.loads((ROOT / "results" / "bench.json").read_text())
    assert {"ratios", "machine", "commit"} <= set(bench)
    for ratio in bench["ratios"].values():
        assert ratio["low"] <= ratio["value"] <= ratio["high"] and ratio["runs"] >= 3


SETTINGS = {
    "mnist": MnistSettings, "specialists": SpecialistsSettings, "speech": SpeechSettings, "variants": VariantsSettings,
}  # fmt: skip
# ``mnist/choice``, whose recipes are trials, is left out. Runs whose length is worked out from the profile's.
OTHER_LENGTHS = ("share of the data", "trained longer", "view")


def recipes(value) -> list[dict]:
    """All recipes in some settings."""
    if isinstance(value, Recipe):
        return [value.model_dump(mode="json")]
    inner = [getattr(value, name) for name in type(value).model_fields] if isinstance(value, BaseModel) else value
    return [found for one in inner for found in recipes(one)] if isinstance(inner, (list, tuple)) else []


@pytest.mark.parametrize(
    "where",
    sorted(
        {str(path.parent.relative_to(ROOT)) for path in ROOT.glob("results/*/*/*.jsonl")} - {"results/mnist/choice"}
    ),
)
def test_committed_records_are_of_what_the_profiles_say_today(where):
    folder = ROOT / where
    found = records.load(ROOT, folder.parent.name, folder.name)
    path = config.profile_path(folder.parent.name, found[0]["profile"])
    settings = config.load(SETTINGS[folder.parent.name], path)
    known = recipes(settings)
    assert known
    if folder.parent.name == "variants":
        teacher = settings.teacher.recipe.model_dump(mode="json")
        known += [teacher | {"epochs": share * teacher["epochs"]} for share in settings.gap.shortened]
    for record in [one for one in found if one["settings"].get("recipe")]:
        own = record["settings"]["recipe"]
        changed = {"epochs"} if record["arm"].startswith(OTHER_LENGTHS) else set()
        less = [{name: value for name, value in one.items() if name not in changed} for one in (own, *known)]
        assert less[0] in less[1:], record["arm"]
    for plan in getattr(settings, "methods", ()):
        tried = [one["settings"]["options"] for one in found if one["arm"] == f"candidate: {plan.name}"]
        for candidate in plan.candidates if len(plan.candidates) > 1 else ():
            assert any(candidate.items() <= one.items() for one in tried), (plan.name, candidate)


def test_synthetic_speech_says_so_wherever_its_figures_stand():
    drawn, tables = sorted((ROOT / "figures/speech/synth").glob("*.svg")), (ROOT / "results/speech/synth").glob("*.md")
    assert drawn and all("synthetic speech" in file.read_text() for file in [*drawn, *tables])
    for page in ("README.md", "REPRODUCE.md", "results/index.html"):
        assert "synth (synthetic speech)" in (ROOT / page).read_text()
    assert "synthetic speech" not in (ROOT / "figures/speech/speechocean762/temperature.svg").read_text()
