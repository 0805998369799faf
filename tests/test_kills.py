"""Commands that are killed or interrupted again and again, or find the disk full, go on and end as if nothing had been.

Figures are stubs here (see ``sittings``); all else is what the command does.
"""

import json
import random
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from conftest import write_pets
from sittings import Sitting, Sittings

from repro.data.speech import sources
from repro.data.speech.synth import SynthSettings
from repro.speech.settings import Data

KILLS = 8
# What a record says of the clock, and what the variants' costs are.
TIMED = ("wall_seconds", "time_over_plain", "time_low", "time_high", "plain_step_seconds")
PETS = ("data.source=folder", "data.folder=pets")
CANDIDATES = "[{temperature=4.0,hard_label_weight=0.1},{temperature=2.0,hard_label_weight=0.1}]"
HINTS = "[{pairs=[['stages.1','stages.1']],first=0.2},{pairs=[['stages.1','stages.1']],first=0.4}]"
METHODS = (
    "methods=[{name='none',method='none'},"
    f"{{name='soft targets',method='soft_targets',candidates={CANDIDATES}}},"
    f"{{name='hints',method='hints',candidates={HINTS}}}]"
)
# The smoke profiles, made smaller still.
COMMANDS = {
    "mnist": ("smoke", "train_cases=600", "temperatures.temperatures=[1.0,20.0]",
              "temperatures.extra_temperatures=[]"),
    "specialists": ("smoke", *PETS, "specialists.count=2", "specialists.size=3", "specialists.recipe.batch_size=8",
                    "generalist.recipe.batch_size=16", "studies.count=1", "studies.counts=[1]", "studies.sizes=[]",
                    "studies.widths=[]", "studies.methods=['random']"),
    "variants": ("smoke_icons", *PETS, "teacher.recipe.batch_size=16", "student.recipe.batch_size=16", METHODS, "gap.teachers=[]",
                 "gap.students=[]", "gap.shortened=[]", "views.epochs=[]", "chains.assistants=[]",
                 "temperatures.values=[]"),
    "speech": ("smoke", "data.synth.train_hours=0.006", "data.synth.test_hours=0.003", "data.synth.train_speakers=3",
               "data.synth.test_speakers=2", "hidden=[8]", "ensemble=2", "studies.sizes=[]", "studies.widths=[]",
               "studies.teachers=0", "distilled.temperatures=[2.0]", "words.utterances=1",
               "words.validation_utterances=1",
               "subsets.parts=[{share=0.5,seeds=2,recipe={epochs=2,batch_size=64,learning_rate=0.003}}]"),
}  # fmt: skip


@pytest.fixture(scope="module")
def sittings(tmp_path_factory, real_folder):
    other_side = Sittings(tmp_path_factory.mktemp("log") / "log")
    yield other_side
    other_side.close()


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> Path:
    """A folder with six classes of pictures, where all commands of this file run."""
    here = tmp_path_factory.mktemp("here")
    write_pets(here)
    return here


def words(experiment: str, runs: str, here: Path) -> list[str]:
    profile, *changes = COMMANDS[experiment]
    data = ["--data", str(here / "data")] if experiment == "speech" else []
    changed = [word for change in changes for word in ("--set", change)]
    return [experiment, "--profile", profile, "--runs", runs, "--out", f"{runs}-out", *data, *changed]


@pytest.fixture(scope="module")
def prepared(sittings, here) -> dict[str, Sitting]:
    """Synthetic speech made and aligned, after a full disk, another one, and Ctrl-C on the way: what each came to."""
    command = words("speech", "first", here)
    no_corpus = sittings.run(*command, cwd=here, limit=5_000)
    sizes = {"train_hours": 0.006, "test_hours": 0.003, "train_speakers": 3, "test_speakers": 2}
    sources.load(Data(synth=SynthSettings(**sizes)), here / "data")  # writes larger files than frames are
    no_frames = sittings.run(*command, cwd=here, limit=100_000)
    for sooner in (0.9, 0.7, 0.5):  # where Python drops Ctrl-C (a callback), again
        stopped = sittings.run(*command, cwd=here, after=sooner * no_frames.seconds, send=signal.SIGINT)
        if stopped.code:
            break
    return {"corpus": no_corpus, "frames": no_frames, "stopped": stopped, "whole": sittings.run(*command, cwd=here)}


@pytest.fixture(scope="module")
def whole(sittings, here, request) -> dict[str, Sitting]:
    """The undisturbed run of each experiment, made when it is first asked for."""

    class Whole(dict):
        def __missing__(self, experiment: str) -> Sitting:
            if experiment == "speech":
                request.getfixturevalue("prepared")
                copy_alignments(here, "first", "whole")
            self[experiment] = sittings.run(*words(experiment, "whole", here), cwd=here)
            assert self[experiment].code == 0, self[experiment].said
            return self[experiment]

    return Whole()


def copy_alignments(here: Path, one: str, other: str) -> None:
    shutil.copytree(here / one / "speech" / "aligned", here / other / "speech" / "aligned")


def comparable(value: Any) -> Any:
    """A record without what the clock says."""
    if isinstance(value, dict):
        return {name: comparable(inner) for name, inner in value.items() if name not in TIMED}
    return value


def kept(folder: Path) -> dict[str, Any]:
    """Every record and every file of tensors, by its file's name."""
    records = {path.name: json.loads(path.read_text())["records"] for path in folder.glob("*.json")}
    files = [path for path in folder.iterdir() if path.suffix in (".safetensors", ".logits")]
    return {name: [comparable(one) for one in found] for name, found in records.items()} | {
        path.name: path.read_bytes() for path in files
    }


@pytest.mark.parametrize("experiment", list(COMMANDS))
def test_killed_at_random_moments_it_ends_as_if_it_had_not_been(sittings, here, whole, experiment):
    seconds, draw = whole[experiment].seconds, random.Random(experiment)
    if experiment == "speech":
        copy_alignments(here, "first", "killed")
    folder, made, kills = here / "killed" / experiment, dict[Path, int](), 0
    for turn in range(2 * KILLS):
        after = draw.uniform(0, seconds / 4) if kills < KILLS and turn < 2 * KILLS - 1 else None
        last = sittings.run(*words(experiment, "killed", here), cwd=here, after=after)
        assert last.code in (0, -signal.SIGKILL), last.said
        assert all(path.stat().st_mtime_ns == when for path, when in made.items()), "a finished run was made again"
        made = {path: path.stat().st_mtime_ns for path in folder.glob("*.json")}
        kills += last.code == -signal.SIGKILL
        if after is None:
            break
    assert last.code == 0 and kills >= KILLS / 2, kills
    assert kept(folder) == kept(here / "whole" / experiment) and len(made) > 10
    if "pets" in str(COMMANDS[experiment]):
        assert list((here / "killed-out" / "results" / experiment / "pets").glob("*.csv")), "tables of own images"
    written = [*folder.rglob("*"), *(here / "killed-out").rglob("*")]
    left = [path.name for path in written if path.suffix in (".unfinished", ".checkpoint", ".damaged")]
    assert not left, "no litter is left"


@pytest.mark.parametrize("moment, send", [("training", signal.SIGINT), ("report", signal.SIGTERM)])
def test_ctrl_c_is_one_line_on_how_to_go_on(sittings, here, whole, moment, send):
    command, first = words("specialists", moment, here), whole["specialists"]
    again = sittings.run(*words("specialists", "whole", here), cwd=here)
    after = 0.6 * again.seconds if moment == "report" else 0.5 * (first.seconds - again.seconds)
    for _ in range(6):
        shutil.rmtree(here / moment, ignore_errors=True)
        if moment == "report":  # all is trained, so that most of the time goes into tables
            shutil.copytree(here / "whole", here / moment)
        stopped = sittings.run(*command, cwd=here, after=after, send=send)
        if stopped.code:
            break
        # The machine has become quicker, and the command ended; or Python was where it drops Ctrl-C (a callback).
        after = 0.6 * min(after, stopped.seconds)
    assert stopped.code == 130 and "Traceback" not in stopped.said
    assert stopped.said.splitlines()[-1] == "interrupted; the same command goes on from the last checkpoint"
    assert sittings.run(*command, cwd=here).code == 0
    assert kept(here / moment / "specialists") == kept(here / "whole" / "specialists")
    assert not [path for path in here.rglob("*.unfinished") if path.parts[len(here.parts)].startswith(moment)]


def test_a_full_disk_or_ctrl_c_while_speech_is_prepared_is_told_and_got_over(prepared, here):
    for what, named in (("corpus", "/voices"), ("frames", ".frames")):
        one = prepared[what]
        last = one.said.splitlines()[-1]
        assert one.code == 2 and last.startswith("error: ") and named in last and "too large" in last, one.said
        assert "Traceback" not in one.said
    assert prepared["stopped"].code == 130 and "Traceback" not in prepared["stopped"].said
    assert prepared["whole"].code == 0, prepared["whole"].said
    assert not [path for path in here.rglob("*.unfinished") if "first" in path.parts or "data" in path.parts]
