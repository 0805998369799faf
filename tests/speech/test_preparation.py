"""Alignment in worker processes: the same frames after a worker was killed or stopped."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest
import torch
from processes import children_of, new_workers

from repro.data.speech import synth
from repro.data.speech.corpus import Corpus
from repro.data.speech.kaldi import kaldi
from repro.engine import worker
from repro.errors import UserError
from repro.speech import preparation
from repro.speech.preparation import prepare

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    sizes = {"train_hours": 0.01, "test_hours": 0.002, "train_speakers": 3, "test_speakers": 1}
    return kaldi(synth.build(tmp_path_factory.mktemp("voices") / "corpus", synth.SynthSettings(**sizes)))


@pytest.fixture(scope="module")
def undisturbed(corpus, tmp_path_factory):
    return prepare(corpus, tmp_path_factory.mktemp("undisturbed"), 0.3, 1)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(preparation, "CHUNK", 4)


def signal_a_worker(before: set[int], folder: Path, send: int, signalled: list[int]) -> None:
    """Send a signal to a new worker once the first chunk is written."""
    deadline = time.monotonic() + 60
    while not list(folder.glob("*.frames")) and time.monotonic() < deadline:
        time.sleep(0.002)
    for process in new_workers(before)[:1]:
        os.kill(process, send)
        signalled.append(process)


def test_a_killed_aligner_is_named_and_a_rerun_completes_the_frames(corpus, undisturbed, tmp_path):
    signalled: list[int] = []
    killer = threading.Thread(
        target=signal_a_worker, args=(set(children_of(os.getpid())), tmp_path, signal.SIGKILL, signalled)
    )
    killer.start()
    with pytest.raises(UserError, match=r"^worker 1 \(process \d+\) was killed by SIGKILL") as caught:
        prepare(corpus, tmp_path, 0.3, 1)
    killer.join()
    assert f"process {signalled[0]}" in str(caught.value) and not list(tmp_path.glob("workers.*"))
    written = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.frames")}
    again = prepare(corpus, tmp_path, 0.3, 2)
    assert written and all(path.stat().st_mtime_ns == when for path, when in written.items())
    for part in ("train", "validation", "test"):
        assert torch.equal(getattr(again, part).banks, getattr(undisturbed, part).banks)
        assert torch.equal(getattr(again, part).states, getattr(undisturbed, part).states)


def test_a_stopped_aligner_is_named_and_finishes_after_it_continues(corpus, undisturbed, tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "STALL_SECONDS", 1.0)
    signalled, lines = list[int](), list[str]()
    before = set(children_of(os.getpid()))
    threading.Thread(target=signal_a_worker, args=(before, tmp_path, signal.SIGSTOP, signalled)).start()

    def say(text: str) -> None:
        lines.append(text)
        if signalled and f"(process {signalled[0]}) has made no progress" in text:
            os.kill(signalled[0], signal.SIGCONT)

    data = prepare(corpus, tmp_path, 0.3, 1, say)
    assert any(f"(process {signalled[0]}) has made no progress" in text for text in lines)
    assert torch.equal(data.train.banks, undisturbed.train.banks)
