"""Commands that are killed or interrupted again and again, or find the disk full, go on and end as if nothing had been.

Figures are stubs here (see ``interrupted_cli``); all else is what the command does.
"""

import json
import random
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from commands import COMMANDS, words
from conftest import write_pets
from interrupted_cli import CliSession, CommandResult

from repro.data.speech import sources
from repro.data.speech.sources import CorpusSource
from repro.data.speech.synth import SynthSettings

KILLS = 4
# What a record says of the clock, and what the variants' costs are.
TIMED = ("wall_seconds", "time_over_kd", "time_low", "time_high", "kd_step_seconds")


@pytest.fixture(scope="module")
def interrupted_cli(tmp_path_factory, real_folder):
    other_side = CliSession(tmp_path_factory.mktemp("log") / "log")
    yield other_side
    other_side.close()


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> Path:
    """A folder with six classes of pictures, where all commands of this file run."""
    here = tmp_path_factory.mktemp("here")
    write_pets(here)
    return here


@pytest.fixture(scope="module")
def prepared(interrupted_cli, here) -> dict[str, CommandResult]:
    """Synthetic speech made and aligned, after a full disk, another one, and Ctrl-C on the way: what each came to."""
    command = words("speech", "whole", here)
    no_corpus = interrupted_cli.run(*command, cwd=here, limit=5_000)
    sizes = {"train_hours": 0.006, "test_hours": 0.003, "train_speakers": 3, "test_speakers": 2}
    sources.load(CorpusSource(synth=SynthSettings(**sizes)), here / "data")  # writes larger files than frames are
    no_frames = interrupted_cli.run(*command, cwd=here, limit=100_000)
    for sooner in (0.9, 0.7, 0.5):  # where Python drops Ctrl-C (a callback), again
        stopped = interrupted_cli.run(*command, cwd=here, after=sooner * no_frames.seconds, send=signal.SIGINT)
        if stopped.code:
            break
    return {
        "corpus": no_corpus,
        "frames": no_frames,
        "stopped": stopped,
        "whole": interrupted_cli.run(*command, cwd=here),
    }


@pytest.fixture(scope="module")
def whole(interrupted_cli, here, request) -> dict[str, CommandResult]:
    """The undisturbed run of each experiment, made when it is first asked for."""

    class Whole(dict):
        def __missing__(self, experiment: str) -> CommandResult:
            if experiment == "speech":
                self[experiment] = request.getfixturevalue("prepared")["whole"]
            else:
                self[experiment] = interrupted_cli.run(*words(experiment, "whole", here), cwd=here)
            assert self[experiment].code == 0, self[experiment].stderr
            return self[experiment]

    return Whole()


def comparable(value: Any) -> Any:
    """A record without what the clock says."""
    if isinstance(value, dict):
        return {name: comparable(inner) for name, inner in value.items() if name not in TIMED}
    return value


def stored_runs(folder: Path) -> dict[str, Any]:
    """Every record and every file of tensors, by its file's name."""
    records = {path.name: json.loads(path.read_text())["records"] for path in folder.glob("*.json")}
    files = [path for path in folder.iterdir() if path.suffix in (".safetensors", ".logits")]
    return {name: [comparable(item) for item in outcomes] for name, outcomes in records.items()} | {
        path.name: path.read_bytes() for path in files
    }


@pytest.mark.parametrize("experiment", list(COMMANDS))
def test_a_command_killed_at_random_moments_resumes_to_the_same_result(interrupted_cli, here, whole, experiment):
    seconds, draw = whole[experiment].seconds, random.Random(experiment)
    if experiment == "speech":
        shutil.copytree(here / "whole" / "speech" / "aligned", here / "killed" / "speech" / "aligned")
        aligned_at = max(path.stat().st_mtime for path in (here / "whole" / "speech" / "aligned").iterdir())
        (records,) = (here / "whole-out" / "results" / "speech").rglob("records.jsonl")
        seconds = records.stat().st_mtime - aligned_at  # from here on, the command that is killed does the same
    folder, made, kills = here / "killed" / experiment, dict[Path, int](), 0
    for turn in range(2 * KILLS):
        after = draw.uniform(0, seconds / 4) if kills < KILLS and turn < 2 * KILLS - 1 else None
        last = interrupted_cli.run(*words(experiment, "killed", here), cwd=here, after=after)
        assert last.code in (0, -signal.SIGKILL), last.stderr
        assert all(path.stat().st_mtime_ns == when for path, when in made.items()), "a finished run was repeated"
        made = {path: path.stat().st_mtime_ns for path in folder.glob("*.json")}
        kills += last.code == -signal.SIGKILL
        if after is None:
            break
    assert last.code == 0 and kills >= KILLS / 2, kills
    assert stored_runs(folder) == stored_runs(here / "whole" / experiment) and len(made) > 10
    if "pets" in str(COMMANDS[experiment]):
        assert list((here / "killed-out" / "results" / experiment / "pets").glob("*.csv")), "tables of own images"
    written = [*folder.rglob("*"), *(here / "killed-out").rglob("*")]
    left = [path.name for path in written if path.suffix in (".unfinished", ".checkpoint", ".damaged")]
    assert not left, "no litter is left"


@pytest.mark.parametrize("moment, send", [("training", signal.SIGINT), ("report", signal.SIGTERM)])
def test_an_interrupt_prints_one_line_and_a_rerun_resumes(interrupted_cli, here, whole, moment, send):
    command, first = words("specialists", moment, here), whole["specialists"]
    again = interrupted_cli.run(*words("specialists", "whole", here), cwd=here)
    # Training ends before the report, which is all that a second run does; under load that may take longer.
    training = max(first.seconds - again.seconds, 0.3 * first.seconds)
    after = 0.85 * again.seconds if moment == "report" else 0.5 * training
    for _ in range(6):
        shutil.rmtree(here / moment, ignore_errors=True)
        if moment == "report":  # all is trained, so that the last of the time goes into tables
            shutil.copytree(here / "whole", here / moment)
        stopped = interrupted_cli.run(*command, cwd=here, after=after, send=send)
        if stopped.code:
            break
        # The machine has become quicker, and the command ended; or Python was where it drops Ctrl-C (a callback).
        after = 0.6 * min(after, stopped.seconds)
    assert stopped.code == 130 and "Traceback" not in stopped.stderr
    assert stopped.stderr.splitlines()[-1] == "interrupted; rerun the same command to resume from the last checkpoint"
    assert interrupted_cli.run(*command, cwd=here).code == 0
    assert stored_runs(here / moment / "specialists") == stored_runs(here / "whole" / "specialists")
    assert not [path for path in here.rglob("*.unfinished") if path.parts[len(here.parts)].startswith(moment)]


def test_a_full_disk_or_an_interrupt_during_preparation_of_speech_is_reported_and_recovered_from(prepared, here):
    for content, named in (("corpus", "/voices"), ("frames", ".frames")):
        item = prepared[content]
        last = item.stderr.splitlines()[-1]
        assert item.code == 2 and last.startswith("error: ") and named in last and "too large" in last, item.stderr
        assert "Traceback" not in item.stderr
    assert prepared["stopped"].code == 130 and "Traceback" not in prepared["stopped"].stderr
    assert prepared["whole"].code == 0, prepared["whole"].stderr
    assert not [path for path in here.rglob("*.unfinished") if "whole" in path.parts or "data" in path.parts]
