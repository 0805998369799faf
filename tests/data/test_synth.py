"""The synthetic corpus: a pure function of its settings, complete or absent, with disjoint speakers and sentences."""

import json
import os
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from repro.data.speech import sources, synth
from repro.data.speech.kaldi import kaldi
from repro.data.speech.lexicon import cmudict
from repro.data.speech.sources import CorpusSource
from repro.data.speech.synth import SynthSettings, about, build, generator, record, speaker, utterance
from repro.data.speech.synth.grammar import grammar, in_test, sentence
from repro.data.speech.synth.voices import ACCENTS, Espeak, manner
from repro.errors import UserError

TINY = SynthSettings(train_hours=0.004, test_hours=0.002, train_speakers=3, test_speakers=2)
SNR = (10.0, 30.0)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    """Return a corpus of a few utterances."""
    return build(tmp_path_factory.mktemp("synth") / "corpus", TINY)


def contents(folder: Path) -> dict[str, bytes]:
    """Return the content of every file of a corpus by its path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_same_settings_and_seed_give_the_same_bytes(tiny, tmp_path):
    assert contents(build(tmp_path / "again", TINY)) == contents(tiny)
    assert about(build(tmp_path / "other", TINY.model_copy(update={"seed": 1})))["sha256"] != about(tiny)["sha256"]


def vocabulary() -> set[str]:
    """Return every word that the grammar can make, in lower case."""
    text = " ".join(" ".join(alternatives) for alternatives in grammar().values())
    return {*re.sub(r"{\w+}|[(|)]", " ", text).split(), "an"}


def test_an_utterance_does_not_depend_on_those_before_it():
    people = [speaker("train", number, 0) for number in range(24)]
    assert {person.voice.accent for person in people} == set(ACCENTS)
    assert len({person.voice.source for person in people}) == 2
    with Espeak() as espeak:
        first = {person.id: utterance(espeak, person, 3, 0, SNR) for person in people}
        for person in reversed(people):
            words, sound = utterance(espeak, person, 3, 0, SNR)
            assert words == first[person.id][0] and np.array_equal(sound, first[person.id][1]), person
    with Espeak() as espeak:
        person = people[17]
        assert np.array_equal(utterance(espeak, person, 3, 0, SNR)[1], first[person.id][1])


def test_the_corpus_is_a_kaldi_directory_of_disjoint_speakers_and_sentences(tiny):
    corpus = kaldi(tiny)
    assert not corpus.left_out
    assert {utterance.speaker for utterance in corpus.train} == {f"train-{number:04d}" for number in range(3)}
    assert {utterance.speaker for utterance in corpus.test} == {f"test-{number:04d}" for number in range(2)}
    for part in (corpus.train, corpus.test):
        assert {in_test(" ".join(utterance.words)) for utterance in part} == {part is corpus.test}
    assert all(line.partition(" ")[2].isupper() for line in (tiny / "test" / "text").read_text().splitlines())
    voices = {speaker(part, number, 0).voice for part in ("train", "test") for number in range(100)}
    assert len(voices) == 200


def test_recordings_have_the_right_format_and_length(tiny):
    seconds = Counter()
    for path in tiny.glob("audio/*/*.flac"):
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
        assert 0.5 < info.duration < 15
        sound, _ = soundfile.read(path)
        assert 0.005 < np.sqrt((sound**2).mean()) < 0.2 and np.abs(sound).max() < 0.96
        seconds[path.name.partition("-")[0]] += info.duration
    hours = about(tiny)["hours"]
    for part, least in (("train", TINY.train_hours), ("test", TINY.test_hours)):
        assert hours[part] == pytest.approx(seconds[part] / 3600)
        assert least <= hours[part] < 2 * least


def test_the_signal_to_noise_ratio_is_the_one_drawn():
    person = speaker("train", 0, 0)
    with Espeak() as espeak:
        spoken = espeak.say(person.voice, manner(person.voice, generator(0)), "play some jazz from the sixties")
    # The same draws: the difference of two recordings is the difference of their noises, the level being equal.
    quiet, loud, louder = (record(spoken, person, snr, generator(1)).astype(float) for snr in (90, 20, 0))
    energy = [((noisy - quiet) ** 2).sum() for noisy in (loud, louder)]
    assert 10 * np.log10(energy[1] / energy[0]) == pytest.approx(20, abs=0.3)


def test_every_word_is_in_the_dictionary_and_thousands_are_used():
    assert vocabulary() <= cmudict().keys()
    draw = generator(0)
    sentences = [sentence(draw, False) for _ in range(8000)]
    assert len({word for text in sentences for word in text.split()}) > 3000
    assert len(set(sentences)) > 0.95 * len(sentences) and max(Counter(sentences).values()) < 10
    assert len(grammar()["query"]) > 150


def test_an_existing_corpus_is_not_made_again(tiny, monkeypatch):
    monkeypatch.setattr(synth, "_write", None)
    assert build(tiny, TINY) == tiny


def test_an_interrupted_build_leaves_no_folder_that_passes_for_a_corpus(tmp_path, monkeypatch, tiny):
    folder = tmp_path / "corpus"

    def interrupt(fraction: float) -> None:
        if fraction > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(folder, TINY, progress=interrupt)
    assert not folder.exists() and not about(tmp_path / "corpus.unfinished")
    assert contents(build(folder, TINY)) == contents(tiny)
    assert sorted(os.listdir(tmp_path)) == ["corpus", "corpus.lock"]


def test_a_corpus_made_from_other_settings_is_replaced_and_other_files_are_not(tmp_path):
    folder = build(tmp_path / "corpus", TINY)
    fractions = []
    build(folder, TINY.model_copy(update={"test_speakers": 1}), progress=fractions.append)
    assert {path.name for path in (folder / "audio").glob("test-*")} == {"test-0000"}
    assert json.loads((folder / "about.json").read_text())["made_from"]["settings"]["test_speakers"] == 1
    assert fractions == sorted(fractions) and fractions[-1] == pytest.approx(1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    with pytest.raises(UserError, match="mine: holds something other"):
        build(tmp_path / "mine", TINY)
    with pytest.raises(ValueError, match="lower bound"):
        SynthSettings(snr=(20, 10))


def test_a_damaged_corpus_is_not_made_again_twice(tmp_path, monkeypatch):
    folder = build(tmp_path / "corpus", TINY)
    seen = synth.made_at(folder)
    monkeypatch.setattr(synth, "_write", None)  # writing it a second time would fail
    os.utime(folder / "about.json", ns=(seen + 1, seen + 1))  # by another process
    assert build(folder, TINY, damaged=seen) == folder
    with pytest.raises(TypeError):
        build(folder, TINY, damaged=seen + 1)


@pytest.mark.parametrize("damaged", ["recording", "text"])
def test_a_damaged_corpus_is_reported_and_made_again(tmp_path, damaged):
    messages = list[str]()
    first = sources.load(CorpusSource(synth=TINY), tmp_path, messages.append)
    made = contents(tmp_path)
    recording = first.train[0].audio
    root = recording.parents[2]
    path = {"recording": recording, "text": root / "train" / "text"}[damaged]
    path.write_bytes(path.read_bytes()[:-1] if damaged == "recording" else b"")
    assert sources.load(CorpusSource(synth=TINY), tmp_path, messages.append).digest == first.digest
    assert contents(tmp_path) == made
    assert len(messages) == 2 and messages[1].startswith(f"{root} is damaged")
    sources.load(CorpusSource(synth=TINY), tmp_path, messages.append)
    assert len(messages) == 2
