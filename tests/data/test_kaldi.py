"""Corpora: reading, utterances that are left out and listed, and malformed input that is refused in one line."""

import numpy as np
import pytest
import soundfile
import torch
import torchaudio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from repro.data.speech import librispeech
from repro.data.speech.corpus import read_audio
from repro.data.speech.kaldi import PARTS, kaldi
from repro.data.speech.lexicon import pronunciations
from repro.data.speech.synth import voices
from repro.data.speech.transcripts import BROKEN_OFF, DIGITS, SYMBOLS, UNKNOWN_MARK, UNTRANSCRIBED
from repro.errors import UserError
from repro.speech import preparation as preparing
from repro.speech.alignment import Aligner
from repro.speech.preparation import prepare

NO_AUDIO = "no audio file (paths begin at the folder of train and test)"


def tone(seconds=0.5, rate=16000, channels=1):
    wave = 0.1 * np.sin(np.arange(int(seconds * rate)) * 440 * 2 * np.pi / rate)
    return np.stack([wave] * channels, axis=1)


@pytest.fixture
def root(tmp_path):
    """Return a corpus of two utterances in each part: by two speakers in train, by one in test."""
    for part, speakers in (("train", "ab"), ("test", "cc")):
        (tmp_path / part).mkdir()
        names = [f"{part}{n}" for n in range(2)]
        for name in names:
            soundfile.write(tmp_path / f"{name}.wav", tone(), 16000)
        (tmp_path / part / "wav.scp").write_text("".join(f"{n} {n}.wav\n" for n in names))
        (tmp_path / part / "text").write_text("".join(f"{n} CALL Bob's <noise> [laugh] shop\n" for n in names))
        (tmp_path / part / "utt2spk").write_text("".join(f"{n} {s}\n" for n, s in zip(names, speakers, strict=True)))
    return tmp_path


def test_a_kaldi_directory_is_read(root):
    (root / "lexicon.txt").write_text("SHOP SH AA1 P\nSHOP SH AO1 P\nSHOP SH AA2 P\n\n")
    corpus = kaldi(root)
    assert [utterance.id for utterance in corpus.train] == ["train0", "train1"] and not corpus.left_out
    ids = ["train0", "train1", "test0", "test1"]
    assert corpus.remarked == {f"marks of {kind} in the transcript, dropped": ids for kind in ("noise", "laughter")}
    assert corpus.train[0].words == ("call", "bob's", "shop")
    assert corpus.lexicon == {"shop": [("SH", "AA", "P"), ("SH", "AO", "P")]}
    assert corpus.digest == kaldi(root).digest
    (root / "train" / "text").write_text("train0 other\ntrain1 words\n")
    assert kaldi(root).digest != corpus.digest


@pytest.mark.parametrize(
    ("file", "content", "reason", "name"),
    [
        ("train/text", "train0 hello\ntrain1   \n", "no transcript", "train1"),
        ("train/text", "train0 hello\n", "no transcript", "train1"),
        ("train/text", "train0 a\ntrain1 a\nghost a\n", "a transcript and no audio in wav.scp", "ghost"),
        ("train/text", "train0 a\ntrain1 <noise> .\n", "no transcript", "train1"),
        ("train/text", "train0 a\ntrain1 AT&T\n", SYMBOLS, "train1 (at&t)"),
        ("train/text", "train0 a\ntrain1 a <unk>\n", UNTRANSCRIBED, "train1 (<unk>)"),
        ("train/text", f"train0 a\ntrain1 \x1b&{'x' * 99}\n", SYMBOLS, f"train1 (\\x1b&{'x' * 35})"),
        ("train/text", "train0 a\ntrain1 <foo>\n", UNKNOWN_MARK, "train1 (<foo>)"),
        ("train/text", "train0 a\ntrain1 th- the\n", BROKEN_OFF, "train1 (th-)"),
        ("train/wav.scp", "train0 train0.wav\ntrain1 nowhere.wav\n", NO_AUDIO, "train1"),
        ("train/wav.scp", f"train0 train0.wav\ntrain1 {'x' * 5000}\n", NO_AUDIO, "train1"),
        ("train/wav.scp", "train0 train0.wav\ntrain1 archive.ark:12\n", NO_AUDIO, "train1"),
        ("train/wav.scp", "train0 train0.wav\ntrain1\n", "no path in wav.scp", "train1"),
        ("train/utt2spk", "train0 a\ntrain1\n", "no speaker in utt2spk", "train1"),
        ("train/utt2spk", "train0 a\ntrain1 b\nghost b\n", "a speaker and no audio in wav.scp", "ghost"),
        ("train/utt2spk", "train0 a\n", "no speaker in utt2spk", "train1"),
        ("train/utt2spk", "train0 a\ntrain1 c\n", "speaker of test, left out of train", "train1"),
    ],
)
def test_unusable_utterances_are_listed(root, file, content, reason, name):
    (root / file).write_text(content)
    corpus = kaldi(root)
    assert corpus.left_out == {reason: [name]}
    assert name.split()[0] not in {utterance.id for utterance in corpus.train}


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("train/wav.scp", "train0 sox x.wav -t wav - |\n", "no command is run"),
        ("train/wav.scp", "train0 train0.wav\ntrain0 train0.wav\n", "line 2: duplicate key train0"),
        ("train/wav.scp", "", "is empty"),
        ("train/text", "train0\ntrain1\n", "2 with no transcript, for example train0"),
        ("train/utt2spk", "train0 a b\ntrain1 c\n", "utt2spk: train0: must have one speaker"),
        ("lexicon.txt", "WORD\n", "line 1: WORD has no phones"),
        ("lexicon.txt", "<eps> SIL\nWORD 1.0 W ER D\n", "lexicon.txt: line 2: must be a word and its phones"),
        ("lexiconp.txt", "WORD W ER D\n", "lexiconp.txt: line 1: must be a word and its phones"),
    ],
)
def test_a_malformed_directory_is_refused_in_one_line(root, file, content, message):
    (root / file).write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        kaldi(root)
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders_are_named(root, tmp_path):
    with pytest.raises(UserError, match="there is no folder"):
        kaldi(tmp_path / "nowhere")
    (root / "test" / "text").unlink()
    with pytest.raises(UserError, match="test/text: no such file"):
        kaldi(root)
    for content, message in (
        ("test0 a\n".encode("utf-16"), "text: is not text in UTF-8 but in UTF-16"),
        ("test0 a\n".encode("utf-16-le"), "text: is not text in UTF-8 but in UTF-16"),
        ("test0 a\ntest1 café\n".encode("latin-1"), "text: line 2: is not text in UTF-8"),
    ):
        (root / "test" / "text").write_bytes(content)
        with pytest.raises(UserError, match=message):
            kaldi(root)


def test_byte_order_marks_and_windows_line_endings_change_nothing(root):
    (root / "lexicon.txt").write_text("SHOP SH AO1 P\n")
    before = kaldi(root)
    for path in (
        root / "lexicon.txt",
        *(root / part / name for part in PARTS for name in ("text", "wav.scp", "utt2spk")),
    ):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    after = kaldi(root)
    assert (after.train, after.test, after.lexicon, after.digest) == (
        before.train, before.test, before.lexicon, before.digest,
    )  # fmt: skip
    assert not after.left_out


def test_only_line_feeds_end_lines(root):
    (root / "train" / "text").write_text(
        "train0 go\u2028there\x0bnow\x1cand\x85then\ntrain1\u00a0stay\rhere\n", newline=""
    )
    assert [utterance.words for utterance in kaldi(root).train] == [
        ("go", "there", "now", "and", "then"),
        ("stay", "here"),
    ]


def test_paths_may_have_blanks(root):
    (root / "my audio").mkdir()
    (root / "train0.wav").rename(root / "my audio" / "a  b.wav")
    (root / "train" / "wav.scp").write_text("train0  my audio/a  b.wav \ntrain1\ttrain1.wav\n")
    assert kaldi(root).train[0].audio == root / "my audio" / "a  b.wav" and len(kaldi(root).train) == 2


def test_unreadable_audio_is_listed(root, monkeypatch):
    def refuse(path, *args, **options):
        if path.name == "train1.wav":
            raise PermissionError(13, "denied")
        return normal(path, *args, **options)

    normal = type(root).open
    monkeypatch.setattr(type(root), "open", refuse)
    assert kaldi(root).left_out == {"audio that cannot be read": ["train1"]}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.text(alphabet=st.characters(exclude_characters="\x00", exclude_categories=["Cs"])), min_size=2, max_size=2
    )
)
@example(["go\nthere", "\rgo"])
def test_no_utterance_is_lost_without_a_reason(root, texts):
    (root / "train" / "text").write_text(f"train0 {texts[0]}\ntrain1 {texts[1]}\n", encoding="utf-8", newline="")
    try:
        corpus = kaldi(root)
    except UserError as error:
        assert "no usable utterance" in str(error) or "duplicate key" in str(error)
        return
    listed = {entry.split()[0] for ids in corpus.left_out.values() for entry in ids}
    assert {utterance.id for utterance in corpus.train} | listed >= {"train0", "train1"}
    assert {utterance.id for utterance in corpus.train}.isdisjoint(listed)


def test_a_lexicon_in_unknown_phones_is_counted(root):
    (root / "lexicon.txt").write_text("SHOP SH QQ P\nCALL K AO L\n!SIL SIL\n<UNK> SPN\n")
    corpus = kaldi(root)
    ids = ["train0", "train1", "test0", "test1"]
    assert corpus.remarked["a pronunciation of the lexicon in unknown phones, ignored"] == ids
    assert corpus.lexicon.keys() == {"shop", "call"}


def test_a_lexicon_with_probabilities_is_read_if_there_is_no_other(root):
    (root / "lexiconp.txt").write_text("SHOP 1.0 SH AO1 P\nSHOP 2e-3 SH AA1 P\n")
    assert kaldi(root).lexicon == {"shop": [("SH", "AO", "P"), ("SH", "AA", "P")]}
    (root / "lexicon.txt").write_text("BOB'S B AA B Z\n")
    assert kaldi(root).lexicon == {"bob's": [("B", "AA", "B", "Z")]}


def test_the_lexicon_decides_what_is_a_word(root):
    (root / "lexicon.txt").write_text("AT&T EY T IY AH N T IY\n")
    (root / "train" / "text").write_text("train0 Call AT&T.\ntrain1 R&B\n")
    corpus = kaldi(root)
    assert corpus.train[0].words == ("call", "at&t") and corpus.left_out == {SYMBOLS: ["train1 (r&b)"]}


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

    monkeypatch.setattr(preparing, "Aligner", lambda lexicon: FakeAligner())
    monkeypatch.setattr(preparing, "Pool", Pool)


def test_utterances_without_alignment_are_listed(root, tmp_path, here):
    names = ["short", "broken", "unknown", "foreign", "fails", "good"]
    with open(root / "train" / "wav.scp", "a") as scp, open(root / "train" / "text", "a") as text:
        for name in names:
            scp.write(f"{name} {name}.wav\n")
            text.write(f"{name} {'zyzzyva' if name == 'unknown' else name}\n")
            soundfile.write(root / f"{name}.wav", tone(0.2 if name == "short" else 0.5), 16000)
    (root / "broken.wav").write_bytes(b"no sound")
    with open(root / "train" / "utt2spk", "a") as speakers:
        speakers.writelines(f"{name} a\n" for name in names)
    data = prepare(kaldi(root), tmp_path / "kept", 0.1, 1)
    assert data.left_out == {
        "audio that cannot be read": ["broken"],
        "a word outside the lexicon": ["unknown (zyzzyva)"],
        "a pronunciation in unknown phones": ["foreign (foreign)"],
        "no alignment found": ["fails"],
        "fewer frames than the window of 26": ["short"],
    }
    assert {*data.train.ids, *data.validation.ids} == {"train0", "train1", "good"}
    assert set(data.train.speakers).isdisjoint(data.validation.speakers)
    assert len(data.test) == 100 and data.transcripts["good"] == ("good",)


def test_stored_alignments_are_reused_and_damaged_ones_made_again(root, tmp_path, here, monkeypatch):
    def all_frames():
        return prepare(kaldi(root), tmp_path / "kept", 0.1, 1).test

    first = all_frames()
    made = []
    monkeypatch.setattr(
        preparing,
        "_align_chunk",
        lambda *words, align=preparing._align_chunk: made.append(words[-1][1]) or align(*words),
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
    with pytest.raises(UserError, match="two speakers"):
        prepare(kaldi(root), tmp_path / "kept", 0.1, 1)


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


def test_digits_and_an_utterance_id_in_both_parts_are_named(root):
    (root / "train" / "text").write_text("train0 go 2 there\ntrain1 good\n")
    left = kaldi(root).left_out
    assert left == {DIGITS: ["train0"]}
    for name in ("wav.scp", "text", "utt2spk"):
        there = root / "test" / name
        there.write_text(there.read_text().replace("test0", "train1"))
    with pytest.raises(UserError, match="both called train1"):
        kaldi(root)


def test_the_digest_depends_on_the_samples(root):
    before = kaldi(root).digest
    path = kaldi(root).test[0].audio
    samples, rate = soundfile.read(path, dtype="int16", always_2d=True)
    soundfile.write(path, samples // 2, rate, "PCM_16")
    assert kaldi(root).digest != before


def test_samples_that_are_not_finite_are_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.array([0.1, np.nan, 0.2], np.float32), 16_000, "FLOAT")
    with pytest.raises(ValueError, match="not finite"):
        read_audio(tmp_path / "a.wav")
    (tmp_path / "a.raw").write_bytes(b"1234")
    with pytest.raises(ValueError, match="cannot be read as audio"):
        read_audio(tmp_path / "a.raw")


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


def test_a_segments_file_is_refused(root):
    (root / "train" / "segments").write_text("train0 recording 0.0 1.0\n")
    with pytest.raises(UserError, match="segments: utterances that are parts of recordings are not supported"):
        kaldi(root)
