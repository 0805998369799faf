"""LibriSpeech (Panayotov et al. 2015, CC BY 4.0) as a corpus, fetched by torchaudio."""

import shutil
from collections import defaultdict
from pathlib import Path

import torchaudio

from repro.data.download import file_digest, network_timeout
from repro.data.speech.corpus import Corpus, Utterance
from repro.data.speech.lexicon import cmudict
from repro.data.speech.transcripts import normalize
from repro.engine.store import key
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
# sha256 of the archives, as published: one that a user put there is unpacked only if it is the published one.
ARCHIVES = {
    "dev-clean": "76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3",
    "dev-other": "12661c48e8c3fe1de2c1caa4c3e135193bfb1811584f11f569dd12645aa84365",
    "test-clean": "39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23",
    "test-other": "d09c181bba5cf717b3dee7d4d592af11a3ee3a09e08ae025c5506f6ebe961c29",
    "train-clean-100": "d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2",
    "train-clean-360": "146a56496217e96c14334a160df97fffedd6e0a04e66b9c5af0d40be3c792ecf",
    "train-other-500": "ddb22f27f96ec163645d53215559df6aa36515f26e01dd70798188350adcb6d2",
}


def load(folder: Path, train_set: str, test_set: str) -> Corpus:
    """Read two sets of LibriSpeech as train and test; those that are not in ``folder`` are fetched.

    Raises:
        UserError: a set is unknown, incomplete or cannot be fetched, or both are the same.
    """
    if train_set == test_set:
        raise UserError(f"data.test_set: must not be data.train_set, {train_set}, too")
    left_out: dict[str, list[str]] = defaultdict(list)
    train, test = (
        _utterances(folder, setting, name, left_out) for setting, name in (("train", train_set), ("test", test_set))
    )
    both = {utterance.speaker for utterance in train} & {utterance.speaker for utterance in test}
    if both:
        left_out["speaker of test, left out of train"] = [
            utterance.id for utterance in train if utterance.speaker in both
        ]
        train = [utterance for utterance in train if utterance.speaker not in both]
    digest = key([[each.id, list(each.words), each.audio.stat().st_size] for each in (*train, *test)])
    return Corpus("librispeech", tuple(train), tuple(test), {}, digest, left_out=dict(left_out))


def _utterances(folder: Path, setting: str, name: str, left_out: dict[str, list[str]]) -> list[Utterance]:
    if name not in SETS:
        raise UserError(f"data.{setting}_set: must be one of {', '.join(SETS)}, not {name!r}")
    folder.mkdir(parents=True, exist_ok=True)
    unpacked, archive = folder / "LibriSpeech" / name, folder / f"{name}.tar.gz"
    missing = not unpacked.is_dir()
    try:
        if missing and archive.exists() and file_digest(archive, "sha256") != ARCHIVES[name]:
            raise UserError(f"{archive}: is not the published archive; remove it to download it again")
        with network_timeout():
            dataset = torchaudio.datasets.LIBRISPEECH(folder, name, download=missing)
    except BaseException as error:
        if missing:
            shutil.rmtree(unpacked, ignore_errors=True)  # or it would be taken for a complete set
        if isinstance(error, OSError | RuntimeError):
            raise UserError(f"data.{setting}_set: {name} cannot be fetched into {folder} ({error})") from error
        raise
    if len(dataset) < SETS[name]:
        raise UserError(
            f"data.{setting}_set: {unpacked} holds {len(dataset)} of {SETS[name]} utterances; "
            "remove it to download it again"
        )
    utterances = []
    for number in range(len(dataset)):
        path, _, transcript, speaker, chapter, utterance = dataset.get_metadata(number)
        id = f"{speaker}-{chapter}-{utterance:04d}"
        read = normalize(transcript, cmudict())
        if read.words:
            utterances.append(Utterance(id, str(speaker), read.words, folder / "LibriSpeech" / path))
        else:
            left_out[read.reason or "no transcript"].append(id)
    return utterances
