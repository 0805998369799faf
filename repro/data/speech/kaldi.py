"""Kaldi data directories as corpora.

    root/train/{wav.scp,text,utt2spk}    root/test/{wav.scp,text,utt2spk}    optional: root/lexicon.txt

Each line of ``wav.scp`` has an utterance and its audio file, absolute or relative to ``root``; of ``text`` an utterance
and its words, as ``repro.data.speech.transcripts`` reads them; of ``utt2spk`` an utterance and its speaker; of
``lexicon.txt`` a word and its phones, of ``lexiconp.txt``, which is read if there is no ``lexicon.txt``, with a
probability between them that is ignored. With a file ``segments``, whose lines have an utterance, its recording, start
and end in seconds and optionally a channel, ``wav.scp`` lists recordings instead of utterances. ``Corpus.left_out``
lists the utterances that cannot be used.
"""

import hashlib
import math
from collections import defaultdict
from collections.abc import Container
from pathlib import Path
from typing import NamedTuple

from repro.data.speech.corpus import Corpus, Utterance, summary
from repro.data.speech.lexicon import Pronunciations, cmudict, known_phones, parse, pronunciations
from repro.data.speech.marks import UNKNOWN_MARK, UNTRANSCRIBED
from repro.data.speech.transcripts import ABBREVIATION, BROKEN_OFF, SYMBOLS, Transcript, normalize
from repro.errors import UserError

PARTS = ("train", "test")
LEXICONS = {"lexicon.txt": 1, "lexiconp.txt": 2}  # by the field of the first phone
TO_THE_END = -1  # end of a segment that ends with its recording
# Reasons that are listed with the text that they are about.
WITH_TOKEN = (SYMBOLS, ABBREVIATION, UNTRANSCRIBED, UNKNOWN_MARK, BROKEN_OFF)

Reasons = dict[str, list[str]]


class Segment(NamedTuple):
    """The place of an utterance: a recording of ``wav.scp``, and start, end and channel as in ``Utterance``."""

    recording: str
    start: float = 0.0
    end: float | None = None
    channel: int | None = None


def kaldi(root: Path, name: str | None = None, synthetic: bool = False) -> Corpus:
    """Read the corpus in a Kaldi data directory.

    Args:
        root: the directory that holds train and test.
        name: name of the corpus. Default: that of the directory.
        synthetic: whether the speech is synthetic. Default: it is not.

    Raises:
        UserError: a file is missing or malformed, or no usable utterance is left.
    """
    root = root.expanduser()
    if not root.is_dir():
        raise UserError(f"data.corpus: there is no folder {root}")
    digest = hashlib.sha256()
    reasons: dict[str, Reasons] = {part: defaultdict(list) for part in PARTS}
    remarked: Reasons = defaultdict(list)
    lexicon, lexicon_text = _lexicon(root)
    known = cmudict().keys() | lexicon.keys()
    parts = {part: _utterances(root, part, known, reasons[part], remarked, digest) for part in PARTS}
    digest.update(lexicon_text.encode())
    both = {utterance.id for utterance in parts["train"]} & {utterance.id for utterance in parts["test"]}
    if both:
        raise UserError(f"data.corpus: {root}: an utterance of train and one of test are both called {min(both)}")
    test_speakers = {utterance.speaker for utterance in parts["test"]}
    tested = {utterance.recording for utterance in parts["test"]}
    of_train, parts["train"] = parts["train"], []
    for utterance in of_train:
        if utterance.speaker in test_speakers:
            reasons["train"]["speaker of test, left out of train"].append(utterance.id)
        elif utterance.recording in tested:
            reasons["train"]["a recording of test, left out of train"].append(utterance.id)
        else:
            parts["train"].append(utterance)
    for part, utterances in parts.items():
        if not utterances:
            why = f" ({summary(reasons[part])})" if reasons[part] else ""
            raise UserError(f"data.corpus: {root / part} holds no usable utterance{why}")
    left_out: Reasons = defaultdict(list)
    for of_part in reasons.values():
        for reason, ids in of_part.items():
            left_out[reason] += ids
    partly_ignored = _partly_ignored(lexicon)
    for utterance in (*parts["train"], *parts["test"]):
        if not partly_ignored.isdisjoint(utterance.words):
            remarked["a pronunciation of the lexicon in unknown phones, ignored"].append(utterance.id)
    return Corpus(
        name or root.resolve().name, tuple(parts["train"]), tuple(parts["test"]), lexicon, digest.hexdigest()[:16],
        synthetic, dict(left_out), dict(remarked),
    )  # fmt: skip


def _utterances(
    root: Path, part: str, known: Container[str], left_out: Reasons, remarked: Reasons, digest: "hashlib._Hash"
) -> list[Utterance]:
    """Return the usable utterances of a part."""
    folder = root / part
    if not folder.is_dir():
        raise UserError(f"data.corpus: there is no folder {folder}; a Kaldi data directory holds train/ and test/")
    audio, text, speakers = (_table(folder / name, digest) for name in ("wav.scp", "text", "utt2spk"))
    segments = _segments(folder / "segments", digest)
    places = segments or {id: Segment(id) for id in audio}
    sounds: dict[Path, str] = {}
    utterances = []
    for id, (recording, start, end, channel) in sorted(places.items()):
        location = audio.get(recording, "")
        if location.endswith("|"):
            raise UserError(
                f"{folder / 'wav.scp'}: {recording}: is a command; only audio files are read, no command is run"
            )
        speaker, path, transcript = speakers.get(id, ""), root / location, normalize(text.get(id, ""), known)
        if len(speaker.split()) > 1:
            raise UserError(
                f"{folder / 'utt2spk'}: {id}: must have one speaker without white space, not {speaker[:40]!r}"
            )
        reason = (
            "a segment of a recording that wav.scp lacks" if recording not in audio
            else "no path in wav.scp" if not location
            else "no speaker in utt2spk" if not speaker
            else "no audio file (paths begin at the folder of train and test)" if not _is_file(path)
            else _reason(transcript)
        )  # fmt: skip
        if not reason:
            try:
                if path not in sounds:
                    with path.open("rb") as file:
                        sounds[path] = hashlib.file_digest(file, "sha256").hexdigest()
                digest.update(id.encode() + bytes.fromhex(sounds[path]))
            except OSError:
                reason = "audio that cannot be read"
        if reason:
            left_out[reason].append(f"{id} ({_shown(transcript.token)})" if reason in WITH_TOKEN else id)
            continue
        utterances.append(Utterance(id, speaker, transcript.words, path, start, end, channel, sounds[path]))
        for kind in transcript.marks:
            remarked[f"marks of {kind} in the transcript, dropped"].append(id)
    place_of = "segment" if segments else "audio in wav.scp"
    for id in sorted(text.keys() - places.keys()):
        left_out[f"a transcript and no {place_of}"].append(id)
    for id in sorted(speakers.keys() - text.keys() - places.keys()):
        left_out[f"a speaker and no {place_of}"].append(id)
    return utterances


def _segments(path: Path, digest: "hashlib._Hash") -> dict[str, Segment]:
    """Return the segment of each utterance; nothing if there is no such file."""
    if not path.exists():
        return {}
    segments = {}
    for id, value in _table(path, digest).items():
        recording, *numbers = value.split() or [""]
        try:
            start, end = map(float, numbers[:2])
            channel = int(numbers[2]) if len(numbers) == 3 else None
        except ValueError:
            start = end = math.nan
        if len(numbers) > 3 or not 0 <= start < math.inf or not (end == TO_THE_END or start < end < math.inf):
            raise UserError(
                f"{path}: {id}: must have a recording, start and end in seconds, the end after the start or "
                f"{TO_THE_END}, and at most a channel, not {value[:40]!r}"
            )
        if channel is not None and channel < 0:
            raise UserError(f"{path}: {id}: the channel must be 0 or more, not {channel}")
        segments[id] = Segment(recording, start, None if end == TO_THE_END else end, channel)
    return segments


def _reason(transcript: Transcript) -> str:
    return transcript.reason or ("" if transcript.words else "no transcript")


def _shown(token: str) -> str:
    """Return the beginning of a token, with escapes for what cannot be printed."""
    return (token if token.isprintable() else ascii(token)[1:-1])[:40]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # the name is too long, or a folder may not be searched
        return False


def _table(path: Path, digest: "hashlib._Hash") -> dict[str, str]:
    """Read a Kaldi table: lines of a key and its value."""
    rows: dict[str, str] = {}
    content = _read(path)
    digest.update(content.encode())
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip():
            continue
        key, value = [*line.split(maxsplit=1), ""][:2]
        if key in rows:
            raise UserError(f"{path}: line {number}: duplicate key {key}")
        rows[key] = value.strip()
    if not rows:
        raise UserError(f"{path}: is empty")
    return rows


def _lexicon(root: Path) -> tuple[Pronunciations, str]:
    """Return the corpus's lexicon and its text; both are empty if there is none."""
    for name, first_phone in LEXICONS.items():
        if (root / name).exists():
            content = _read(root / name)
            lexicon = parse(root / name, content.split("\n"), first_phone)
            if content.strip() and not lexicon:
                raise UserError(f"{root / name}: no line is a word and its phones with white space between them")
            return lexicon, content
    return {}, ""


def _partly_ignored(lexicon: Pronunciations) -> set[str]:
    """Return the words of a lexicon that have usable pronunciations, and others with unknown phones."""
    foreign = {word for word, spellings in lexicon.items() if not all(map(known_phones().issuperset, spellings))}
    return foreign & pronunciations(foreign, lexicon).keys()


def _read(path: Path) -> str:
    """Return the text of a file with lines that end at line feeds, without byte order marks."""
    if path.exists() and not path.is_file():  # a pipe or device may have no end
        raise UserError(f"{path}: is not a regular file")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    if content[:2] in (b"\xff\xfe", b"\xfe\xff") or content.count(0) * 4 > len(content):
        raise UserError(f"{path}: is not text in UTF-8 but in UTF-16 or UTF-32; save it as UTF-8")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}: line {line}: is not text in UTF-8; save the file as UTF-8") from error
    if "\r" in text and "\n" not in text:
        raise UserError(f"{path}: lines end at carriage returns; they must end at line feeds (\\n or \\r\\n)")
    return text.replace("\ufeff", "").replace("\r\n", "\n")
