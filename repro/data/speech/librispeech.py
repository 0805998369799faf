"""LibriSpeech (Panayotov et al. 2015, CC BY 4.0), fetched by torchaudio, as a corpus."""

import hashlib
import shutil
from pathlib import Path

import torchaudio

from repro.data.speech.corpus import Corpus, Utterance, words_of
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
# sha256 of their archives, as published: an archive that was put there by hand is unpacked only if it is that one.
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
    unpacked, archive = folder / "LibriSpeech" / name, folder / f"{name}.tar.gz"
    there = unpacked.is_dir()
    try:
        if not there and archive.exists() and _sha256(archive) != ARCHIVES[name]:
            raise UserError(f"{archive}: is not the published archive; remove it, and it is fetched again")
        found = torchaudio.datasets.LIBRISPEECH(folder, name, download=not there)
    except BaseException as error:
        if not there:
            shutil.rmtree(unpacked, ignore_errors=True)  # or it would pass for a whole set
        if isinstance(error, OSError | RuntimeError):
            raise UserError(f"data.{setting}_set: {name} cannot be fetched into {folder} ({error})") from error
        raise
    if len(found) < SETS[name]:
        raise UserError(
            f"data.{setting}_set: {unpacked} holds {len(found)} of {SETS[name]} utterances; "
            "remove it, and it is fetched again"
        )
    utterances = []
    for number in range(len(found)):
        path, _, transcript, speaker, chapter, utterance = found.get_metadata(number)
        id = f"{speaker}-{chapter}-{utterance:04d}"
        utterances.append(Utterance(id, str(speaker), words_of(transcript), folder / "LibriSpeech" / path))
    return utterances


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
