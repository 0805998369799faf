"""Word errors of acoustic models on one corpus, with its language model, dictionary and settings."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from repro.data.speech.corpus import Corpus
from repro.models.mlp import BatchedMLP
from repro.speech.decoding import pipeline
from repro.speech.decoding.decoder import Search
from repro.speech.preparation import Prepared
from repro.speech.settings import Decoding
from repro.training.compute import Compute, cores

# Operations of training in the time in which a frame is decoded, for the ETA: at 250 GFLOP/s, on two cores of a CPU.
FLOPS_OF_FRAME = 5e7


@dataclass(frozen=True)
class Recognizer:
    """Decodes the test and validation utterances of a corpus on all cores.

    Attributes:
        folder: where language models are written.
        advance: called after each utterance with the FLOPs of training that take as long as decoding it.
    """

    corpus: Corpus
    data: Prepared
    settings: Decoding
    folder: Path
    compute: Compute
    advance: Callable[[float], None]
    _tasks: dict[int, pipeline.Task] = field(init=False, default_factory=dict)

    def test_errors(self, net: BatchedMLP | None, scale: float, general_words: int) -> dict[str, Any]:
        """Return the word errors of each test utterance.

        Args:
            net: models whose mean is decoded; None for pocketsphinx's own acoustic model.
            scale: acoustic scale.
            general_words: number of words of general English in the vocabulary.
        """
        task = self._task(general_words)
        on_done = partial(self.advance, self.flops("test") / len(task.test))
        if net is None:
            return pipeline.decode_stock(task, self.data, self.corpus, cores(), on_done)
        return pipeline.decode(task, self.data, self._scores(net), self._search(scale), cores(), on_done)

    def validation_rates(
        self, nets: Iterable[BatchedMLP], scales: Sequence[float], general_words: int
    ) -> dict[str, Any]:
        """Return each model's word error rate on validation at each acoustic scale."""
        task = self._task(general_words)
        on_done = partial(self.advance, self.flops("validation") / len(task.validation))
        searches = {scale: self._search(scale) for scale in scales}
        rates = [pipeline.validation_rates(task, self.data, self._scores(net), searches, cores(), on_done)
                 for net in nets]  # fmt: skip
        by_scale = [[scale, [of_net[scale] for of_net in rates]] for scale in scales]
        return {"rates": by_scale, "utterances": len(task.validation), **task.metadata["validation"]}

    def flops(self, part: str) -> float:
        """Return the operations of training that take about as long as decoding ``test`` or ``validation`` once."""
        limit = self.settings.utterances if part == "test" else self.settings.validation_utterances
        frames = getattr(self.data, part)
        return FLOPS_OF_FRAME * len(frames) * min(1, limit / len(frames.ids))

    def _task(self, general_words: int) -> pipeline.Task:
        if general_words not in self._tasks:
            counts = self.settings.validation_utterances, self.settings.utterances
            self._tasks[general_words] = pipeline.make_task(self.corpus, self.data, self.folder, *counts, general_words)
        return self._tasks[general_words]

    def _search(self, scale: float) -> Search:
        return Search(acoustic_scale=scale, max_active_hmms=self.settings.max_active_hmms)

    def _scores(self, net: BatchedMLP) -> pipeline.MakeScores:
        prior = pipeline.log_prior(self.data.train)
        return lambda frames, some: pipeline.scores(net, frames, some, prior, self.compute)
