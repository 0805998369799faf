"""LibriSpeech (Panayotov et al. 2015, CC BY 4.0), fetched by torchaudio, as a corpus."""

from pathlib import Path

import torchaudio

from repro.core.store import key
from repro.data.corpus import Corpus, Utterance, words_of
from repro.errors import UserError

# Utterances in each set, as published.
SETS = {
    "dev-clean": 2703,
    "dev-other": 2864,
    "test-clean": 2620,
    "test-other": 2939,
    "train-clean-100": 28_539,
    "train-clean-360": 104_014,
    "train-other-500": 148_688,
}


def load(folder: Path, train_set: str, test_set: str) -> Corpus:
    """Two sets of LibriSpeech; one that is not in ``folder`` is fetched.

    Raises:
        UserError: there is no such set, both are the same, one cannot be fetched, or is not whole.
    """
    if train_set == test_set:
        raise UserError(f"data.test_set: should not be data.train_set, {train_set}, too")
    train, test = (_utterances(folder, setting, name) for setting, name in (("train", train_set), ("test", test_set)))
    left_out = {}
    both = {one.speaker for one in train} & {one.speaker for one in test}
    if both:
        left_out["speaker of test, left out of train"] = [one.id for one in train if one.speaker in both]
        train = [one for one in train if one.speaker not in both]
    digest = key([[one.id, list(one.words), one.audio.stat().st_size] for one in (*train, *test)])
    return Corpus("librispeech", tuple(train), tuple(test), {}, digest, left_out=left_out)


def _utterances(folder: Path, setting: str, name: str) -> list[Utterance]:
    if name not in SETS:
        raise UserError(f"data.{setting}_set: must be one of {', '.join(SETS)}, not {name!r}")
    folder.mkdir(parents=True, exist_ok=True)
    there = (folder / "LibriSpeech" / name).is_dir()
    try:
        found = torchaudio.datasets.LIBRISPEECH(folder, name, download=not there)
    except (OSError, RuntimeError) as error:
        raise UserError(f"data.{setting}_set: {name} cannot be fetched into {folder} ({error})") from error
    if len(found) < SETS[name]:
        raise UserError(
            f"data.{setting}_set: {folder / 'LibriSpeech' / name} holds {len(found)} of {SETS[name]} utterances; "
            "remove it, and it is fetched again"
        )
    utterances = []
    for number in range(len(found)):
        path, _, transcript, speaker, chapter, utterance = found.get_metadata(number)
        id = f"{speaker}-{chapter}-{utterance:04d}"
        utterances.append(Utterance(id, str(speaker), words_of(transcript), folder / "LibriSpeech" / path))
    return utterances
