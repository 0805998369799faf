"""A corpus made ready to train on: aligned and analysed, kept on disk a chunk of utterances at a time."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import Tensor

from repro.data.speech.corpus import Corpus, Utterance, read_audio
from repro.engine import files, store
from repro.engine.local_pool import block_sigint
from repro.errors import UserError
from repro.speech.alignment import Aligner, Pronunciations
from repro.speech.features import WINDOW, Frames, filterbanks, lay_out
from repro.training.random_streams import Stream, generator

CHUNK = 100  # utterances
Usable = list[tuple[str, str, Tensor, Tensor]]
Reasons = dict[str, list[str]]
OnChunk = Callable[[str, int, int], None] | None
# The modules that decide what frames and states an utterance becomes.
CODE_DEPENDENCIES = (
    "data/speech/corpus.py", "data/speech/kaldi.py", "speech/alignment.py", "speech/features.py",
    "speech/preparation.py",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Prepared:
    """A corpus as frames; validation is some speakers of train set apart."""

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
    held_out: float,
    processes: int,
    on_chunk: Callable[[str, int, int], None] | None = None,
) -> Prepared:
    """Align and analyse what is not kept in ``folder`` yet, and lay all of it out.

    Args:
        held_out: share of the speakers of train that become validation.
        on_chunk: called with the part, the chunks done and their number, after each chunk.

    Raises:
        UserError: nothing usable is left of a part.
    """
    left_out: dict[str, list[str]] = defaultdict(list, corpus.left_out)
    remarked: dict[str, list[str]] = defaultdict(list)
    digest = store.key([corpus.digest, held_out, *_made_by()])
    parts = {}
    for part in ("train", "test"):
        found = []
        for usable, reasons, remarks in _chunks(corpus, part, folder, processes, on_chunk):
            found += usable
            for collected, new in ((left_out, reasons), (remarked, remarks)):
                for reason, ids in new.items():
                    collected[reason] += ids
        if not found:
            why = "; ".join(f"{len(ids)} with {reason}" for reason, ids in left_out.items())
            raise UserError(f"data.corpus: nothing of {part} can be used ({why})")
        parts[part] = lay_out(found)
    everyone = len(parts["train"].speakers)
    if everyone < 2:
        raise UserError("data.corpus: train needs two speakers or more, one of them for validation")
    shuffled = torch.randperm(everyone, generator=generator(Stream.VALIDATION_SPEAKERS)).tolist()
    apart = max(1, min(round(held_out * everyone), everyone - 1))
    kept = {id: frames for frames in parts.values() for id in frames.ids}
    return Prepared(
        corpus.name, corpus.synthetic, parts["train"].of_speakers(shuffled[apart:]),
        parts["train"].of_speakers(shuffled[:apart]), parts["test"], digest, dict(left_out), dict(remarked),
        {one.id: one.words for one in (*corpus.train, *corpus.test) if one.id in kept},
    )  # fmt: skip


def _chunks(
    corpus: Corpus, part: str, folder: Path, processes: int, on_chunk: OnChunk
) -> Iterator[tuple[Usable, Reasons, Reasons]]:
    """What each chunk of a part became, in order; made where it is not kept or is damaged."""
    utterances: Sequence[Utterance] = getattr(corpus, part)
    chunks = [utterances[start : start + CHUNK] for start in range(0, len(utterances), CHUNK)]
    named = [corpus.digest, part, *_made_by()]
    paths = [folder / f"{store.key([*named, [one.id for one in chunk]])}.frames" for chunk in chunks]
    missing = [n for n, path in enumerate(paths) if not _is_whole(path)]
    if missing:
        # Processes of their own: one decoder each, and none inherits the threads of this one.
        with ProcessPoolExecutor(processes, get_context("spawn"), _start, (corpus.lexicon,)) as pool:
            with block_sigint():
                made = pool.map(_make, [chunks[n] for n in missing], [paths[n] for n in missing])
            for done, _ in enumerate(made, 1):
                if on_chunk:
                    on_chunk(part, done, len(missing))
    for path, chunk in zip(paths, chunks, strict=True):
        tensors, about = files.load_tensors(path)
        starts = tensors["lengths"].tolist()
        banks, states = tensors["banks"].float().split(starts), tensors["states"].split(starts)
        by_id = {one.id: one for one in chunk}
        usable = [(id, by_id[id].speaker, b, s) for id, b, s in zip(about["ids"], banks, states, strict=True)]
        yield usable, about["left_out"], about["remarked"]


def _made_by() -> list[str]:
    return [store.code_version(CODE_DEPENDENCIES), version("pocketsphinx")]


def _is_whole(path: Path) -> bool:
    if not path.exists():
        return False
    try:
        files.load_tensors(path)
    except files.CorruptFile as damage:
        files.quarantine(path, f"{damage}; its utterances are aligned again")
        return False
    return True


_aligner: Aligner


def _start(lexicon: Pronunciations) -> None:
    global _aligner
    torch.set_num_threads(1)
    _aligner = Aligner(lexicon)


def _make(chunk: Sequence[Utterance], path: Path) -> None:
    left_out: dict[str, list[str]] = defaultdict(list)
    remarked: dict[str, list[str]] = defaultdict(list)
    ids, all_banks, all_states = [], [], []
    for one in chunk:
        found = _analyse(one, left_out, remarked)
        if found is not None:
            ids.append(one.id)
            all_banks.append(found[0])
            all_states.append(found[1])
    lengths = torch.tensor([len(states) for states in all_states], dtype=torch.long)
    tensors = {
        "lengths": lengths,
        "banks": torch.cat(all_banks) if ids else torch.empty(0, 40),
        "states": torch.cat(all_states) if ids else torch.empty(0, dtype=torch.int16),
    }
    files.save_tensors(path, tensors, {"ids": ids, "left_out": left_out, "remarked": remarked})


def _analyse(one: Utterance, left_out: Reasons, remarked: Reasons) -> tuple[Tensor, Tensor] | None:
    """Filterbanks and states of an utterance; None, and the reason noted, where it cannot be used."""
    try:
        samples, remarks = read_audio(one.audio)
    except ValueError:
        left_out["audio that cannot be read"].append(one.id)
        return None
    for remark in remarks:
        remarked[remark].append(one.id)
    unknown = _aligner.unknown(one.words)
    if unknown:
        # The lexicon's own phones may be others than the acoustic model's (CMUdict's, without stress).
        listed = any(word in _aligner.lexicon for word in unknown)
        reason = "a pronunciation in unknown phones" if listed else "a word outside the lexicon"
        left_out[reason].append(f"{one.id} ({', '.join(unknown)})")
        return None
    banks = filterbanks(samples)
    if len(banks) < WINDOW:
        left_out[f"fewer frames than the window of {WINDOW}"].append(one.id)
        return None
    aligned = _aligner.align(samples, one.words)
    if aligned is None:
        left_out["no alignment found"].append(one.id)
        return None
    states = torch.from_numpy(aligned.states)
    frames = min(len(banks), len(states))  # they differ by one where the last hop is not full
    return banks[:frames], states[:frames]
