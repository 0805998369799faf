"""LibriSpeech in the layout that torchaudio unpacks."""

import socket

import pytest
import soundfile
import torchaudio
from hums import tone

from repro.data.speech import librispeech
from repro.data.speech.corpus import read_audio
from repro.data.speech.transcripts import DIGITS
from repro.errors import UserError


def test_a_server_that_does_not_answer_is_not_waited_for(tmp_path, monkeypatch):
    limits = []

    def download(*arguments, **options):
        limits.append(socket.getdefaulttimeout())
        raise TimeoutError("timed out")

    monkeypatch.setattr(torchaudio.datasets, "LIBRISPEECH", download)
    with pytest.raises(UserError, match=r"train_set: dev-clean cannot be fetched into .* \(timed out\)"):
        librispeech.load(tmp_path, "dev-clean", "test-clean")
    assert limits[0] and socket.getdefaulttimeout() is None


def test_librispeech_is_read_from_its_layout(tmp_path, monkeypatch):
    for name, speaker in (("dev-clean", 84), ("test-clean", 61), ("test-other", 84)):
        folder = tmp_path / "LibriSpeech" / name / str(speaker) / "7"
        folder.mkdir(parents=True)
        soundfile.write(folder / f"{speaker}-7-0000.flac", tone(), 16000)
        (folder / f"{speaker}-7.trans.txt").write_text(f"{speaker}-7-0000 GO DO YOU HEAR\n")
    with pytest.raises(UserError, match="holds 1 of 2703 utterances; remove it"):
        librispeech.load(tmp_path, "dev-clean", "test-clean")
    monkeypatch.setattr(librispeech, "SETS", dict.fromkeys(librispeech.SETS, 1))
    corpus = librispeech.load(tmp_path, "dev-clean", "test-clean")
    assert corpus.train[0].words == ("go", "do", "you", "hear") and corpus.train[0].speaker == "84"
    assert read_audio(corpus.train[0].audio)[0].shape == (8000,)
    assert "speaker of test" in next(iter(librispeech.load(tmp_path, "dev-clean", "test-other").left_out))
    (tmp_path / "LibriSpeech" / "dev-clean" / "84" / "7" / "84-7.trans.txt").write_text("84-7-0000 GO 2\n")
    assert librispeech.load(tmp_path, "dev-clean", "test-clean").left_out == {DIGITS: ["84-7-0000"]}
    for sets, message in ((("dev-clean", "dev-clean"), "test_set"), (("dev-clan", "test-clean"), "must be one of")):
        with pytest.raises(UserError, match=message):
            librispeech.load(tmp_path, *sets)
