"""Alignment and feature extraction of a corpus, cached on disk in chunks of utterances."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from repro.data.speech.corpus import Corpus, Utterance, summary
from repro.data.speech.lexicon import Pronunciations
from repro.engine import files, store
from repro.engine.pool import Pool
from repro.errors import UserError
from repro.speech.alignment import Aligner
from repro.speech.features import WINDOW, Aligned, Frames, filterbanks, pack
from repro.training.random_streams import Stream, generator

CHUNK = 100  # utterances
Usable = list[Aligned]
Reasons = dict[str, list[str]]
Say = Callable[[str], None]
Request = tuple[Sequence[Utterance], Path]  # a chunk, and the file for its frames
# The modules that determine the frames and states of an utterance.
CODE_DEPENDENCIES = (
    "data/speech/characters.py", "data/speech/corpus.py", "data/speech/kaldi.py", "data/speech/lexicon.py",
    "data/speech/librispeech.py", "data/speech/marks.py", "data/speech/transcripts.py", "speech/alignment.py",
    "speech/features.py", "speech/preparation.py",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Prepared:
    """A corpus as frames; the validation speakers are set aside from the training speakers.

    ``left_out`` and ``remarked`` list utterances that could not be used, or were changed, by reason.
    """

    name: str
    synthetic: bool
    train: Frames
    validation: Frames
    test: Frames
    digest: str
    left_out: dict[str, list[str]] = field(default_factory=dict)
    remarked: dict[str, list[str]] = field(default_factory=dict)
    transcripts: dict[str, tuple[str, ...]] = field(default_factory=dict)


def prepare(
    corpus: Corpus,
    folder: Path,
    validation_fraction: float,
    processes: int,
    say: Say = lambda text: None,
) -> Prepared:
    """Return a corpus as frames; utterances that are not cached in ``folder`` are aligned first.

    Args:
        validation_fraction: fraction of the training speakers that are set aside for validation.
        processes: number of processes that align.
        say: called with a line of progress after each chunk.

    Raises:
        UserError: a part has no usable utterance, or train has a single usable speaker.
    """
    left_out, remarked = (
        defaultdict(list, {reason: [*ids] for reason, ids in reasons.items()})
        for reasons in (corpus.left_out, corpus.remarked)
    )
    digest = store.key([corpus.digest, validation_fraction, *_versions()])
    chunks = {part: _chunks(corpus, part, folder) for part in ("train", "test")}
    _align_missing(corpus, [chunk for of_part in chunks.values() for chunk in of_part], folder, processes, say)
    parts: dict[str, Usable] = {}
    for part in chunks:
        parts[part] = []
        for chunk in chunks[part]:
            usable, reasons, remarks = _load(chunk)
            parts[part] += usable
            for collected, new in ((left_out, reasons), (remarked, remarks)):
                for reason, ids in new.items():
                    collected[reason] += ids
        if not parts[part]:
            raise UserError(f"data.corpus: no utterance of {part} can be used ({summary(left_out)})")
    recordings = {utterance.id: utterance.recording for utterance in corpus.train}
    train, validation = _set_validation_aside(parts["train"], validation_fraction, recordings, left_out)
    test = pack(parts["test"])
    usable_ids = {id for frames in (train, validation, test) for id in frames.ids}
    return Prepared(
        corpus.name, corpus.synthetic, train, validation, test, digest, dict(left_out), dict(remarked),
        {utterance.id: utterance.words for utterance in (*corpus.train, *corpus.test) if utterance.id in usable_ids},
    )  # fmt: skip


def _set_validation_aside(
    utterances: Usable, fraction: float, recordings: Mapping[str, str], left_out: Reasons
) -> tuple[Frames, Frames]:
    """Return the frames of training and of validation, which have neither a speaker nor a recording in common.

    Args:
        utterances: all usable utterances of train.
        fraction: fraction of the speakers that are set aside for validation.
        recordings: the recording of each utterance, as in ``Utterance``.
        left_out: utterances that cannot be used, by reason; those on a recording of validation are added.

    Raises:
        UserError: fewer than two speakers are left, or none for training.
    """
    speakers = sorted({speaker for _, speaker, _, _ in utterances})
    shuffled = torch.randperm(len(speakers), generator=generator(Stream.VALIDATION_SPEAKERS)).tolist()
    count = max(1, min(round(fraction * len(speakers)), len(speakers) - 1))
    aside = {speakers[index] for index in shuffled[:count]}
    validated = {recordings[id] for id, speaker, _, _ in utterances if speaker in aside} - {""}
    shared = [id for id, speaker, _, _ in utterances if speaker not in aside and recordings[id] in validated]
    if shared:
        left_out["a recording of validation, left out of train"] += shared
    dropped = set(shared)
    remaining = pack([utterance for utterance in utterances if utterance[0] not in dropped])
    if len(remaining.speakers) < 2:
        reasons = f" ({summary(left_out)})" if left_out else ""
        raise UserError(f"data.corpus: train must have two usable speakers, one of them for validation{reasons}")
    of_validation = [index for index, speaker in enumerate(remaining.speakers) if speaker in aside]
    others = [index for index, speaker in enumerate(remaining.speakers) if speaker not in aside]
    if not others:
        raise UserError(
            "data.corpus: all recordings of train are also of validation speakers; lower "
            "data.validation_speaker_fraction, or give every speaker recordings of their own"
        )
    return remaining.of_speakers(others), remaining.of_speakers(of_validation)


def _chunks(corpus: Corpus, part: str, folder: Path) -> list[Request]:
    """Return the utterances of a part in chunks, each with the file of its frames."""
    utterances: Sequence[Utterance] = getattr(corpus, part)
    chunks = [utterances[start : start + CHUNK] for start in range(0, len(utterances), CHUNK)]
    inputs = [corpus.digest, part, *_versions()]
    return [
        (chunk, folder / f"{store.key([*inputs, [utterance.id for utterance in chunk]])}.frames") for chunk in chunks
    ]


def _align_missing(corpus: Corpus, chunks: Sequence[Request], folder: Path, processes: int, say: Say) -> None:
    """Align the chunks whose files are missing or damaged."""
    missing = [(chunk, path) for chunk, path in chunks if not _is_whole(path)]
    if missing:
        with Pool(folder, processes, start_aligner, corpus.lexicon) as pool:
            for done, _ in enumerate(pool.map(missing, say), 1):
                say(f"aligned {done} of {len(missing)} chunks")


def _load(chunk: Request) -> tuple[Usable, Reasons, Reasons]:
    """Return the usable utterances of an aligned chunk, the reasons why others are left out, and remarks."""
    utterances, path = chunk
    tensors, metadata = files.load_tensors(path)
    lengths = tensors["lengths"].tolist()
    banks, states = tensors["banks"].float().split(lengths), tensors["states"].split(lengths)
    speaker = {utterance.id: utterance.speaker for utterance in utterances}
    usable = [(id, speaker[id], b, s) for id, b, s in zip(metadata["ids"], banks, states, strict=True)]
    return usable, metadata["left_out"], metadata["remarked"]


def _versions() -> list[str]:
    return [store.code_version(CODE_DEPENDENCIES), version("pocketsphinx")]


def _is_whole(path: Path) -> bool:
    if not path.exists():
        return False
    try:
        files.load_tensors(path)
    except files.CorruptFile as damage:
        files.quarantine(path, f"{damage}; its utterances will be aligned again")
        return False
    return True


def start_aligner(lexicon: Pronunciations, slot: Any) -> Callable[[Request], None]:
    """Return the function that aligns a chunk of utterances in a worker and writes it to a file.

    Args:
        lexicon: pronunciations of the corpus.
        slot: progress; the utterances done are added at index 1.
    """
    return partial(_align_chunk, Aligner(lexicon), slot)


def _align_chunk(aligner: Aligner, slot: Any, request: Request) -> None:
    chunk, path = request
    left_out: dict[str, list[str]] = defaultdict(list)
    remarked: dict[str, list[str]] = defaultdict(list)
    ids, all_banks, all_states = [], [], []
    for utterance in chunk:
        aligned = _align(aligner, utterance, left_out, remarked)
        if aligned is not None:
            ids.append(utterance.id)
            all_banks.append(aligned[0])
            all_states.append(aligned[1])
        slot[1] += 1
    lengths = torch.tensor([len(states) for states in all_states], dtype=torch.long)
    tensors = {
        "lengths": lengths,
        "banks": torch.cat(all_banks) if ids else torch.empty(0, 40),
        "states": torch.cat(all_states) if ids else torch.empty(0, dtype=torch.int16),
    }
    files.save_tensors(path, tensors, {"ids": ids, "left_out": left_out, "remarked": remarked})


def _align(
    aligner: Aligner, utterance: Utterance, left_out: Reasons, remarked: Reasons
) -> tuple[Tensor, Tensor] | None:
    """Return filterbanks and states of an utterance; None, with the reason recorded, if it cannot be used."""
    try:
        samples, remarks = utterance.read()
    except ValueError as unusable:
        left_out[str(unusable)].append(utterance.id)
        return None
    unknown = aligner.unknown(utterance.words)
    if unknown:
        # A lexicon may use other phones than the acoustic model, which has CMUdict's without stress.
        listed = any(word in aligner.lexicon for word in unknown)
        reason = "a pronunciation in unknown phones" if listed else "a word outside the lexicon"
        left_out[reason].append(f"{utterance.id} ({', '.join(unknown)})")
        return None
    banks = filterbanks(samples)
    if len(banks) < WINDOW:
        left_out[f"fewer frames than the window of {WINDOW}"].append(utterance.id)
        return None
    aligned = aligner.align(samples, utterance.words)
    if aligned is None:
        left_out["no alignment found"].append(utterance.id)
        return None
    for remark in remarks:
        remarked[remark].append(utterance.id)
    states = torch.from_numpy(aligned.states)
    frames = min(len(banks), len(states))  # they differ by one where the last hop is not full
    return banks[:frames], states[:frames]
