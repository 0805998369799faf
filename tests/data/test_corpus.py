"""Audio files of corpora: converted and reported, or refused by name."""

import numpy as np
import pytest
import soundfile
import torch
from hums import tone

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
    for name, message in (("a.wav", "cannot be read"), ("b.wav", "holds no sound"), ("c.wav", "cannot be read")):
        with pytest.raises(ValueError, match=message):
            read_audio(tmp_path / name)


def test_samples_that_are_not_finite_are_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.array([0.1, np.nan, 0.2], np.float32), 16_000, "FLOAT")
    with pytest.raises(ValueError, match="not finite"):
        read_audio(tmp_path / "a.wav")
    (tmp_path / "a.raw").write_bytes(b"1234")
    with pytest.raises(ValueError, match="cannot be read as audio"):
        read_audio(tmp_path / "a.raw")
