"""Audio files of corpora: converted and reported, or refused by name."""

import numpy as np
import pytest
import soundfile
import torch
import torchaudio
from hums import tone

from repro.data.speech import corpus
from repro.data.speech.corpus import read_audio


def test_other_rates_and_stereo_are_converted_and_reported(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(rate=8000, channels=2), 8000)
    samples, remarks = read_audio(tmp_path / "a.wav")
    assert len(samples) == 8000 and remarks == ["2 channels, averaged", "8000 samples per second, resampled to 16000"]
    middle = samples[1000:7000]
    expected = 0.1 * torch.sin(torch.arange(1000, 7000) * 440 * 2 * torch.pi / 16000)
    torch.testing.assert_close(middle, expected, atol=2e-3, rtol=0)


def test_files_without_audio_are_refused(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"RIFF....")
    soundfile.write(tmp_path / "b.wav", np.zeros((0, 1)), 16000)
    soundfile.write(tmp_path / "d.wav", tone(), 999)
    for name, message in (
        ("a.wav", "cannot be read"),
        ("b.wav", "without samples"),
        ("c.wav", "cannot be read"),
        ("d.wav", "fewer than 1000 samples per second"),
    ):
        with pytest.raises(ValueError, match=message):
            read_audio(tmp_path / name)


def test_samples_that_are_not_finite_are_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.array([0.1, np.nan, 0.2], np.float32), 16_000, "FLOAT")
    with pytest.raises(ValueError, match="not finite"):
        read_audio(tmp_path / "a.wav")
    loud = (tone(0.1) * 32768).astype(np.float32)  # integers stored as floats
    soundfile.write(tmp_path / "loud.wav", loud, 16_000, "FLOAT")
    with pytest.raises(ValueError, match=r"far outside -1 \.\. 1"):
        read_audio(tmp_path / "loud.wav")
    soundfile.write(tmp_path / "overshoot.wav", loud / 5000, 16_000, "FLOAT")
    assert 0.5 < read_audio(tmp_path / "overshoot.wav")[0].max() < 1
    (tmp_path / "a.raw").write_bytes(b"1234")
    with pytest.raises(ValueError, match="audio that cannot be read"):
        read_audio(tmp_path / "a.raw")


@pytest.mark.parametrize("container", ["WAV", "AIFF", "W64", "RF64", "AU", "CAF", "MP3"])
def test_files_that_were_cut_off_are_refused(tmp_path, container):
    path = tmp_path / "a"
    soundfile.write(path, tone(), 16_000, format=container)
    assert len(read_audio(path)[0]) == 8000
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 8 // 10])
    with pytest.raises(ValueError, match="ends before the end that its header gives"):
        read_audio(path)


def test_long_recordings_are_refused_unread_and_their_segments_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "LONGEST", 2)
    path, read = tmp_path / "a", []
    original = soundfile.SoundFile.read
    monkeypatch.setattr(
        soundfile.SoundFile,
        "read",
        lambda file, frames, **named: read.append(frames) or original(file, frames, **named),
    )
    for seconds, container in ((2.1, "WAV"), (60, "FLAC"), (60, "MP3")):
        soundfile.write(path, tone(seconds), 16_000, format=container)
        with pytest.raises(ValueError, match="more than 2 seconds"):
            read_audio(path)
        assert read.pop() == 32_001
    assert len(read_audio(path, 50, 52)[0]) == 32_000
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 50])
    with pytest.raises(ValueError, match="ends before the end that its header gives"):
        read_audio(path)


@pytest.mark.parametrize("size", [0x7FFFFFFF - 36, 0xFFFFFFFF])
def test_wav_files_written_to_a_pipe_are_read(tmp_path, size):
    soundfile.write(tmp_path / "a.wav", tone(), 16_000)
    content = (tmp_path / "a.wav").read_bytes()
    place = content.index(b"data") + 4
    (tmp_path / "a.wav").write_bytes(content[:place] + size.to_bytes(4, "little") + content[place + 4 :])
    assert len(read_audio(tmp_path / "a.wav")[0]) == 8000


@pytest.mark.parametrize("rate", [11_127, 15_999, 44_099, 1_000_003])
def test_rates_without_a_common_divisor_are_converted_with_little_memory(tmp_path, rate, monkeypatch):
    soundfile.write(tmp_path / "a.wav", tone(rate=rate), rate)
    terms = []
    resample = torchaudio.functional.resample
    monkeypatch.setattr(
        torchaudio.functional, "resample", lambda sound, *ratio: terms.append(ratio) or resample(sound, *ratio)
    )
    samples, _ = read_audio(tmp_path / "a.wav")
    assert abs(len(samples) - 8000) <= 1 and terms[0][0] * terms[0][1] < 1e7
    expected = 0.1 * torch.sin(torch.arange(1000, 7000) * 440 * 2 * torch.pi / 16000)
    torch.testing.assert_close(samples[1000:7000], expected, atol=1e-2, rtol=0)
