"""Kaldi data directories as corpora.

    root/train/{wav.scp,text,utt2spk}    root/test/{wav.scp,text,utt2spk}    optional: root/lexicon.txt

Each line of ``wav.scp`` has an utterance and its audio file, absolute or relative to ``root``; of ``text`` an utterance
and its words; of ``utt2spk`` an utterance and its speaker; of ``lexicon.txt`` a word and its phones. Utterances that
cannot be used are left out, and listed in ``Corpus.left_out``.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from repro.data.speech.corpus import MARK, Corpus, Utterance, words_of
from repro.errors import UserError

PARTS = ("train", "test")

NUMBER = re.compile(r"\d")


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
    left_out: dict[str, list[str]] = defaultdict(list)
    parts = {part: _utterances(root, part, left_out, digest) for part in PARTS}
    lexicon = _lexicon(root / "lexicon.txt", digest)
    both = {utterance.id for utterance in parts["train"]} & {utterance.id for utterance in parts["test"]}
    if both:
        raise UserError(f"data.corpus: {root}: an utterance of train and one of test are both called {min(both)}")
    test_speakers = {utterance.speaker for utterance in parts["test"]}
    for utterance in parts["train"]:
        if utterance.speaker in test_speakers:
            left_out["speaker of test, left out of train"].append(utterance.id)
    parts["train"] = [utterance for utterance in parts["train"] if utterance.speaker not in test_speakers]
    for part, utterances in parts.items():
        if not utterances:
            reasons = "; ".join(f"{len(ids)} with {reason}" for reason, ids in left_out.items())
            raise UserError(f"data.corpus: {root / part} holds no usable utterance{f' ({reasons})' if reasons else ''}")
    return Corpus(
        name or root.resolve().name, tuple(parts["train"]), tuple(parts["test"]), lexicon, digest.hexdigest()[:16],
        synthetic, dict(left_out),
    )  # fmt: skip


def _utterances(root: Path, part: str, left_out: dict[str, list[str]], digest: "hashlib._Hash") -> list[Utterance]:
    folder = root / part
    if not folder.is_dir():
        raise UserError(f"data.corpus: there is no folder {folder}; a Kaldi data directory holds train/ and test/")
    if (folder / "segments").exists():
        raise UserError(
            f"{folder / 'segments'}: utterances that are parts of recordings are not supported; write each to a file "
            "of its own, and name it in wav.scp"
        )
    audio, text, speakers = (_table(folder / name, digest) for name in ("wav.scp", "text", "utt2spk"))
    utterances = []
    for id, location in sorted(audio.items()):
        if location.rstrip().endswith("|"):
            raise UserError(f"{folder / 'wav.scp'}: {id}: is a command; only audio files are read, no command is run")
        path, transcript = root / location.strip(), MARK.sub(" ", text.get(id, ""))
        reason = (
            "no speaker in utt2spk" if id not in speakers
            else "no audio file (paths begin at the folder of train and test)" if not path.is_file()
            else "digits in the transcript, which may be read in many ways" if NUMBER.search(transcript)
            else "no transcript" if not (words := words_of(transcript))
            else ""
        )  # fmt: skip
        if reason:
            left_out[reason].append(id)
            continue
        utterances.append(Utterance(id, speakers[id].strip(), words, path))
        with path.open("rb") as file:
            digest.update(id.encode() + hashlib.file_digest(file, "sha256").digest())
    for id in sorted(text.keys() - audio.keys()):
        left_out["a transcript and no audio in wav.scp"].append(id)
    return utterances


def _table(path: Path, digest: "hashlib._Hash") -> dict[str, str]:
    """Read a Kaldi table: lines of a key and its value."""
    rows: dict[str, str] = {}
    for number, line in enumerate(_lines(path, digest), 1):
        if not line.strip():
            continue
        key, _, value = line.strip().replace("\t", " ").partition(" ")
        if key in rows:
            raise UserError(f"{path}: line {number}: duplicate key {key}")
        rows[key] = value
    if not rows:
        raise UserError(f"{path}: is empty")
    return rows


def _lexicon(path: Path, digest: "hashlib._Hash") -> dict[str, list[tuple[str, ...]]]:
    if not path.exists():
        return {}
    pronunciations: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for number, line in enumerate(_lines(path, digest), 1):
        word, *phones = line.split()[:1] + [re.sub(r"\d", "", phone).upper() for phone in line.split()[1:]] or [""]
        if not word:
            continue
        if not phones:
            raise UserError(f"{path}: line {number}: {word} has no phones")
        if tuple(phones) not in pronunciations[word.lower()]:
            pronunciations[word.lower()].append(tuple(phones))
    return dict(pronunciations)


def _lines(path: Path, digest: "hashlib._Hash") -> Iterable[str]:
    try:
        content = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not text") from error
    digest.update(content.encode())
    return content.splitlines()
