"""Forced alignment by pocketsphinx: states and words at their time, and the pronunciation that was spoken."""

import numpy as np
import torch
import torchaudio
from hums import tone

from repro.data.speech.lexicon import pronunciations
from repro.data.speech.synth import voices
from repro.speech.alignment import Aligner


def test_pocketsphinx_aligns_a_hum_to_silence_or_not_at_all_and_continues():
    aligner = Aligner({"blorp": [("B", "L", "AO", "R", "P")], "odd": [("QQ",)]})
    assert aligner.unknown(["hello", "blorp", "odd", "qqqq"]) == ["qqqq"]
    hum = torch.from_numpy(tone(1.0)[:, 0]).float()
    first, second = (aligner.align(hum, ["hello"]) for _ in range(2))
    if first is not None:
        assert len(first.states) == 100 and np.array_equal(first.states, second.states)
    assert aligner.align(hum[:100], ["hello", "world", "again"]) is None


def speech(text):
    """Return synthetic speech, and faint noise for pauses."""
    draw = np.random.default_rng(0)
    voice = voices.voice(draw)
    with voices.Espeak() as espeak:
        spoken = espeak.say(voice, voices.manner(voice, draw), text)
    sound = torch.from_numpy(spoken.astype(np.float32) / 32768)
    noise = torch.from_numpy(draw.normal(0, 1e-3, 8000).astype(np.float32))
    return torchaudio.functional.resample(sound, 22_050, 16_000), noise


def test_words_are_aligned_to_their_time():
    """A sound half a second later is aligned half a second later; only pauses come before it."""
    sound, noise = speech("hello good morning")
    aligner, starts = Aligner(), []
    for before in (noise[:1600], torch.cat([noise, noise[:1600]])):
        alignment = aligner.align(torch.cat([before, sound, noise[:3200]]), ["hello", "good", "morning"])
        words = [word for word in alignment.words if not word.name.startswith("<")]
        assert [word.name.split("(")[0] for word in words] == ["hello", "good", "morning"]
        assert len(alignment.states) == round((len(before) + len(sound) + 3200) / 160)
        starts.append([word.start for word in words])
    assert all(abs(late - early - 50) <= 8 for early, late in zip(*starts, strict=True))
    assert 0 <= starts[0][0] <= 25


def test_an_alignment_chooses_among_the_pronunciations_of_dictionary_and_lexicon():
    """The lexicon says that "cat" may be read as "morning": only speech that says so is aligned to it."""
    spelling = ("M", "AO", "R", "N", "IH", "NG")
    aligner = Aligner({"cat": [spelling], "tomato": [("T", "UW", "M", "AA", "T")]})
    for text, phones in (("hello good morning", spelling), ("hello good cat", ("K", "AE", "T"))):
        sound, noise = speech(text)
        alignment = aligner.align(torch.cat([noise, sound, noise]), ["hello", "good", "cat"])
        assert tuple(phone.name for phone in alignment.phones if phone.name != "SIL")[-len(phones) :] == phones
    numbered = [aligner.decoder.lookup_word(name) for name in ("tomato", "tomato(2)", "tomato(3)", "tomato(4)")]
    in_decoding = pronunciations(["tomato"], aligner.lexicon)["tomato"]
    assert numbered == [*map(" ".join, in_decoding), None] and len(in_decoding) == 3
