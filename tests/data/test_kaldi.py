"""Corpora: reading, utterances that are left out and listed, and malformed input that is refused in one line."""

import os

import numpy as np
import pytest
import soundfile
from hums import write_corpus
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from repro.data.speech.kaldi import PARTS, kaldi
from repro.data.speech.marks import UNKNOWN_MARK, UNTRANSCRIBED
from repro.data.speech.transcripts import BROKEN_OFF, DIGITS, SYMBOLS
from repro.errors import UserError

NO_AUDIO = "no audio file (paths begin at the folder of train and test)"


@pytest.fixture
def root(tmp_path):
    return write_corpus(tmp_path)


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
        ("train/utt2spk", "train0 a\rtrain1 c\r", "utt2spk: lines end at carriage returns"),
        ("lexicon.txt", "WORD\n", "line 1: WORD has no phones"),
        ("lexicon.txt", "word[2] W ER D\nhello,HH AH L OW\n", "lexicon.txt: no line is a word and its phones"),
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


def test_a_recording_of_test_is_left_out_of_train(root):
    (root / "train1.wav").write_bytes((root / "test0.wav").read_bytes())
    corpus = kaldi(root)
    assert corpus.left_out == {"a recording of test, left out of train": ["train1"]}
    assert [utterance.id for utterance in corpus.train] == ["train0"] and len(corpus.test) == 2


def test_pipes_and_folders_are_no_tables(root):
    (root / "train" / "text").unlink()
    os.mkfifo(root / "train" / "text")
    with pytest.raises(UserError, match="text: is not a regular file"):
        kaldi(root)
    (root / "lexicon.txt").mkdir()
    with pytest.raises(UserError, match=r"lexicon\.txt: is not a regular file"):
        kaldi(root)


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


def test_phones_in_both_cases_are_unknown(root):
    (root / "lexicon.txt").write_text("SHOP S V p\nCALL k ao l\n")
    corpus = kaldi(root)
    assert corpus.lexicon == {"shop": [("S", "V", "p")], "call": [("K", "AO", "L")]}
    assert len(corpus.remarked["a pronunciation of the lexicon in unknown phones, ignored"]) == 4


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


def segmented(root, lines: str):
    """Make the recordings of train one, and its utterances segments of it."""
    folder = root / "train"
    samples = np.concatenate([soundfile.read(root / f"train{n}.wav", dtype="int16")[0] for n in (0, 1)])
    soundfile.write(root / "both.wav", np.stack([samples, -samples], 1), 16_000, "PCM_16")
    (folder / "wav.scp").write_text("both both.wav\n")
    (folder / "segments").write_text(lines)
    return samples


def test_segments_are_parts_of_recordings(root):
    samples = segmented(root, "train0 both 0.0 0.5 0\ntrain1 both 0.25 -1 1\n")
    corpus = kaldi(root)
    assert [utterance.id for utterance in corpus.train] == ["train0", "train1"] and not corpus.left_out
    (first, remarks), (second, _) = (utterance.read() for utterance in corpus.train)
    np.testing.assert_allclose(first, samples[:8000] / 32768, atol=1e-6)
    np.testing.assert_allclose(second, -samples[4000:] / 32768, atol=1e-6)
    assert not remarks
    digest = corpus.digest
    segmented(root, "train0 both 0.0 0.5 0\ntrain1 both 0.3 -1 1\n")
    assert kaldi(root).digest != digest


def test_segments_that_cannot_be_used_are_listed(root):
    seconds = len(segmented(root, "train0 both 0 0.5\ntrain1 none 0 1\n")) / 16_000
    (root / "train" / "text").write_text("train0 a\ntrain1 a\ntrain2 a\n")
    left_out = {"a segment of a recording that wav.scp lacks": ["train1"], "a transcript and no segment": ["train2"]}
    assert kaldi(root).left_out == left_out
    reading = {
        f"0 {seconds + 0.4}": None,
        f"0 {seconds + 0.6}": "a segment that ends after its recording",
        f"{seconds} -1": "a segment that ends after its recording",
        "0 0.5 2": "a segment of a channel that its recording lacks",
    }
    for place, reason in reading.items():
        segmented(root, f"train0 both {place}\n")
        (utterance,) = kaldi(root).train
        if reason is None:
            assert len(utterance.read()[0]) == round(seconds * 16_000)
        else:
            with pytest.raises(ValueError, match=reason):
                utterance.read()


@pytest.mark.parametrize(
    "line", ["", "both", "both 0", "both 1 0.5", "both 1 1", "both -1 1", "both x 1", "both 0 nan", "both 0 1 x",
             "both 0 1 0 0", "both 0 inf", "both 0 1 -1"],
)  # fmt: skip
def test_malformed_segments_are_refused(root, line):
    segmented(root, f"train0 {line}\n")
    with pytest.raises(UserError, match="segments: train0: "):
        kaldi(root)


def test_a_recording_of_test_is_left_out_of_train_in_segments_too(root):
    segmented(root, "train0 both 0 0.5\n")
    folder = root / "test"
    (folder / "wav.scp").write_text("both both.wav\n")
    (folder / "segments").write_text("test0 both 0.5 1\ntest1 both 0.5 1\n")
    with pytest.raises(UserError, match=r"train holds no usable utterance .*a recording of test, left out of train"):
        kaldi(root)


def test_an_empty_part_is_explained_by_its_own_utterances(root):
    (root / "train" / "text").write_text("train0 HELLO\ntrain1\n")
    (root / "test" / "text").write_text("test0\ntest1\n")
    with pytest.raises(UserError, match=r"test holds no usable utterance \(2 with no transcript, for example test0\)$"):
        kaldi(root)
