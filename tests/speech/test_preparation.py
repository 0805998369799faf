"""Frames of a corpus: utterances that cannot be used are listed, and killed or stopped workers change nothing."""

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hums import tone, write_corpus
from processes import children_of, new_workers

from repro.data.speech import corpus as corpora
from repro.data.speech import synth
from repro.data.speech.corpus import Corpus
from repro.data.speech.kaldi import kaldi
from repro.engine import worker
from repro.errors import UserError
from repro.speech import preparation
from repro.speech.preparation import prepare


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


@pytest.fixture
def root(tmp_path):
    return write_corpus(tmp_path)


class FakeAligner:
    """An aligner that succeeds for all words but ``fails``."""

    lexicon = ("foreign",)  # only membership of words is used

    def unknown(self, words):
        return [word for word in words if word in ("zyzzyva", "foreign")]

    def align(self, samples, words):
        frames = len(samples) // 160
        return None if "fails" in words else type("A", (), {"states": np.arange(frames, dtype=np.int16) % 5})


@pytest.fixture
def here(monkeypatch):
    """Make chunks in this process, with the fake aligner."""

    class Pool:
        def __init__(self, folder, count, start, lexicon):
            self.handle = start(lexicon, [0, 0])

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def map(self, requests, say):
            return map(self.handle, requests)

    monkeypatch.setattr(preparation, "Aligner", lambda lexicon: FakeAligner())
    monkeypatch.setattr(preparation, "Pool", Pool)


def test_utterances_without_alignment_are_listed(root, tmp_path, here, monkeypatch):
    monkeypatch.setattr(corpora, "LONGEST", 2)
    names = ["click", "short", "long", "broken", "unknown", "foreign", "fails", "good"]
    with open(root / "train" / "wav.scp", "a") as scp, open(root / "train" / "text", "a") as text:
        for name in names:
            scp.write(f"{name} {name}.wav\n")
            text.write(f"{name} {'zyzzyva' if name == 'unknown' else name}\n")
            sound = tone({"short": 0.2, "click": 1e-4, "long": 2.1}.get(name, 0.5), channels=1 if name == "good" else 2)
            soundfile.write(root / f"{name}.wav", sound, 16000)
    (root / "broken.wav").write_bytes(b"no sound")
    with open(root / "train" / "utt2spk", "a") as speakers:
        speakers.writelines(f"{name} a\n" for name in names)
    data = prepare(kaldi(root), tmp_path / "kept", 0.1, 1)
    assert data.left_out == {
        "audio that cannot be read": ["broken"],
        "a word outside the lexicon": ["unknown (zyzzyva)"],
        "a pronunciation in unknown phones": ["foreign (foreign)"],
        "no alignment found": ["fails"],
        "fewer frames than the window of 26": ["click", "short"],
        "more than 2 seconds": ["long"],
    }
    assert "2 channels, averaged" not in data.remarked  # only of utterances that are used
    assert {*data.train.ids, *data.validation.ids} == {"train0", "train1", "good"}
    assert set(data.train.speakers).isdisjoint(data.validation.speakers)
    assert len(data.test) == 100 and data.transcripts["good"] == ("good",)


def test_stored_alignments_are_reused_and_damaged_ones_made_again(root, tmp_path, here, monkeypatch):
    def all_frames():
        return prepare(kaldi(root), tmp_path / "kept", 0.1, 1).test

    first = all_frames()
    made = []
    monkeypatch.setattr(
        preparation,
        "_align_chunk",
        lambda *words, align=preparation._align_chunk: made.append(words[-1][1]) or align(*words),
    )
    again = all_frames()
    assert not made and torch.equal(again.banks, first.banks)
    damaged = sorted((tmp_path / "kept").glob("*.frames"))[0]
    damaged.write_bytes(damaged.read_bytes()[:-3])
    assert torch.equal(all_frames().banks, first.banks) and made == [damaged]


def test_a_corpus_without_usable_utterances_is_refused_in_one_line(root, tmp_path, here):
    (root / "train" / "text").write_text("train0 fails\ntrain1 fails\n")
    with pytest.raises(UserError, match=r"no utterance of train can be used .*2 with no alignment found"):
        prepare(kaldi(root), tmp_path / "kept", 0.1, 1)
    (root / "train" / "text").write_text("train0 fails\ntrain1 good\n")
    with pytest.raises(UserError, match=r"two usable speakers.*1 with no alignment found, for example train0"):
        prepare(kaldi(root), tmp_path / "kept", 0.1, 1)


def test_a_recording_of_two_speakers_is_not_both_in_train_and_in_validation(root, tmp_path, here):
    alone = prepare(kaldi(root), tmp_path / "kept", 0.5, 1)
    (validated,) = alone.validation.ids
    other = {"train0": "train1", "train1": "train0"}[validated]
    (root / "copy.wav").write_bytes((root / f"{validated}.wav").read_bytes())
    speaker = dict(line.split() for line in (root / "train" / "utt2spk").read_text().splitlines())[other]
    for file, value in (("wav.scp", "copy.wav"), ("text", "good"), ("utt2spk", speaker)):
        with open(root / "train" / file, "a") as table:
            table.write(f"copy {value}\n")
    data = prepare(kaldi(root), tmp_path / "kept", 0.5, 1)
    assert data.left_out["a recording of validation, left out of train"] == ["copy"]
    assert data.train.ids == (other,) and data.validation.ids == (validated,)
    assert torch.equal(data.train.banks[data.train.place], alone.train.banks[alone.train.place])
    assert "copy" not in data.transcripts


def test_recordings_that_validation_has_all_of_leave_nothing_to_train_on(root, tmp_path, here):
    sound = (root / "train0.wav").read_bytes()
    for file, value in (("wav.scp", "{0}.wav"), ("text", "good"), ("utt2spk", "speaker{0}")):
        (root / "train" / file).write_text("".join(f"{id} {value.format(id)}\n" for id in "abcd"))
    for id in "abcd":
        (root / f"{id}.wav").write_bytes(sound)
    with pytest.raises(UserError, match=r"all recordings of train are also of validation speakers; lower data\."):
        prepare(kaldi(root), tmp_path / "kept", 0.5, 1)
