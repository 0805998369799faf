"""The reader of Kaldi data directories."""

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
    """The corpus in a Kaldi data directory.

    Raises:
        UserError: a file is missing or is not what it should be, or nothing usable is left.
    """
    root = root.expanduser()
    if not root.is_dir():
        raise UserError(f"data.corpus: there is no folder {root}")
    digest = hashlib.sha256()
    left_out: dict[str, list[str]] = defaultdict(list)
    parts = {part: _utterances(root, part, left_out, digest) for part in PARTS}
    lexicon = _lexicon(root / "lexicon.txt", digest)
    both = {one.id for one in parts["train"]} & {one.id for one in parts["test"]}
    if both:
        raise UserError(f"data.corpus: {root}: an utterance of train and one of test are both called {min(both)}")
    heard_in_test = {one.speaker for one in parts["test"]}
    for one in parts["train"]:
        if one.speaker in heard_in_test:
            left_out["speaker of test, left out of train"].append(one.id)
    parts["train"] = [one for one in parts["train"] if one.speaker not in heard_in_test]
    for part, found in parts.items():
        if not found:
            why = "; ".join(f"{len(ids)} with {reason}" for reason, ids in left_out.items())
            raise UserError(f"data.corpus: {root / part} holds no usable utterance{f' ({why})' if why else ''}")
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
            f"{folder / 'segments'}: utterances that are parts of recordings are not read; write each to a file "
            "of its own, and name it in wav.scp"
        )
    audio, text, speakers = (_table(folder / name, digest) for name in ("wav.scp", "text", "utt2spk"))
    found = []
    for id, where in sorted(audio.items()):
        if where.rstrip().endswith("|"):
            raise UserError(f"{folder / 'wav.scp'}: {id}: is a command; only audio files are read, no command is run")
        path, said = root / where.strip(), MARK.sub(" ", text.get(id, ""))
        reason = (
            "no speaker in utt2spk" if id not in speakers
            else "no audio file (paths begin at the folder of train and test)" if not path.is_file()
            else "digits in the transcript, which may be read in many ways" if NUMBER.search(said)
            else "no transcript" if not (words := words_of(said))
            else ""
        )  # fmt: skip
        if reason:
            left_out[reason].append(id)
            continue
        found.append(Utterance(id, speakers[id].strip(), words, path))
        with path.open("rb") as file:
            digest.update(id.encode() + hashlib.file_digest(file, "sha256").digest())
    for id in sorted(text.keys() - audio.keys()):
        left_out["a transcript and no audio in wav.scp"].append(id)
    return found


def _table(path: Path, digest: "hashlib._Hash") -> dict[str, str]:
    """A Kaldi table: a key and what belongs to it, a line."""
    rows: dict[str, str] = {}
    for number, line in enumerate(_lines(path, digest), 1):
        if not line.strip():
            continue
        key, _, value = line.strip().replace("\t", " ").partition(" ")
        if key in rows:
            raise UserError(f"{path}: line {number}: {key} stands there twice")
        rows[key] = value
    if not rows:
        raise UserError(f"{path}: is empty")
    return rows


def _lexicon(path: Path, digest: "hashlib._Hash") -> dict[str, list[tuple[str, ...]]]:
    if not path.exists():
        return {}
    found: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for number, line in enumerate(_lines(path, digest), 1):
        word, *phones = line.split()[:1] + [re.sub(r"\d", "", phone).upper() for phone in line.split()[1:]] or [""]
        if not word:
            continue
        if not phones:
            raise UserError(f"{path}: line {number}: {word} has no phones")
        if tuple(phones) not in found[word.lower()]:
            found[word.lower()].append(tuple(phones))
    return dict(found)


def _lines(path: Path, digest: "hashlib._Hash") -> Iterable[str]:
    try:
        content = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not text") from error
    digest.update(content.encode())
    return content.splitlines()
