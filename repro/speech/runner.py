"""Train, average and decode: how each kind of run of sections 4 and 6 is executed."""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from repro.data.download import data_folder
from repro.data.speech import sources
from repro.data.speech.corpus import Corpus
from repro.engine import store as run_store
from repro.engine.jobs import Job
from repro.engine.progress import ProgressDisplay
from repro.engine.runner import Diverged, Runner
from repro.engine.store import Store
from repro.errors import UserError
from repro.models.flops import count_multiply_adds, step_flops
from repro.models.mlp import BatchedMLP
from repro.speech.alignment import STATES
from repro.speech.decoding import pipeline
from repro.speech.decoding.recognizer import Recognizer
from repro.speech.ensemble_targets import Teacher
from repro.speech.evaluate import Measure, sample
from repro.speech.features import INPUTS, Inputs
from repro.speech.preparation import Prepared, prepare
from repro.speech.runs import Arm, DecodingRun, EnsembleRun, NetRun, Run, ScaleRun, TargetPrecisionRun
from repro.speech.settings import SpeechSettings
from repro.speech.target_precision import storage_errors
from repro.speech.training import FrameTrainer, Watched, frames_of_fraction, make_net
from repro.training.compute import cores, memory_bytes
from repro.training.mlp import MemberSpec
from repro.training.trainer import TrainerContext

# Increased by hand when records of the same weights change their content; older stored records are then unused.
RECORD_VERSION = 1
# The modules that determine the weights of a run.
CODE_DEPENDENCIES = (
    "kd/fused_loss.py", "kd/losses.py", "models/mlp.py", "speech/ensemble_targets.py", "speech/training.py",
    "training/fused_update.py", "training/kernels.py", "training/loss_kernel.py", "training/optimizers.py",
    "training/random_streams.py", "training/recipe.py", "training/trainer.py",
)  # fmt: skip
# The modules that determine the words of a decoding, beside the weights.
DECODING_DEPENDENCIES = (*pipeline.CODE_DEPENDENCIES, "speech/decoding/decoder.py", "speech/decoding/wer.py")
# Memory of a job beside the soft targets that it stores.
JOB_BYTES = 4 << 30
# Validation frames on which the precision of stored soft targets is measured.
PRECISION_FRAMES = 1000


@dataclass(kw_only=True)
class SpeechRunner(Runner):
    """Runs on one corpus; acoustic models with the same batches are trained together as one batched MLP."""

    settings: SpeechSettings
    corpus: Corpus
    data: Prepared

    @cached_property
    def measure(self) -> Measure:
        """The evaluation of acoustic models on all parts of the data."""
        return Measure(self.data, self.compute, self.settings.curve_eval_frames, self.settings.eval_frame_stride)

    @property
    def data_digest(self) -> str:
        """Digest of the prepared corpus."""
        return self.data.digest

    def key_inputs(self, run: Run) -> list[Any]:
        """Return what determines a run's record beside its settings: the code, the states and the evaluated frames."""
        # Both are read with the first key, before an edit can tell the file from the code that runs.
        weights, words = map(run_store.code_version, (CODE_DEPENDENCIES, DECODING_DEPENDENCIES))
        return [
            RECORD_VERSION,
            self.settings.eval_frame_stride,
            self.settings.curve_eval_frames,
            STATES,
            weights,
            *([words] if isinstance(run, DecodingRun | ScaleRun) else []),
        ]

    @cached_property
    def recognizer(self) -> Recognizer:
        """The decoder of the corpus.

        Raises:
            UserError: the profile has no ``[decoding]``.
        """
        if self.settings.decoding is None:
            raise UserError("setting decoding: required, because this run decodes words")
        return Recognizer(
            self.corpus, self.data, self.settings.decoding, self.store.folder / "aligned", self.compute,
            self.progress.advance,
        )  # fmt: skip

    def settings_of(self, run: Run) -> dict[str, Any]:
        """Return a run's settings as JSON, with the number of a student's teachers or how words are decoded."""
        settings = super().settings_of(run)
        if isinstance(run, NetRun):
            settings["num_teachers"] = len(run.teacher.nets) if run.teacher else 0
        if isinstance(run, DecodingRun | ScaleRun):
            limit = "utterances" if isinstance(run, DecodingRun) else "validation_utterances"
            decoding = self.recognizer.settings
            settings["decoding"] = decoding.model_dump(mode="json", include={limit, "max_active_hmms"})
        return settings

    def cases(self, fraction: float, data_seed: int) -> Int[Tensor, "frame"]:
        """Return the frames of a fraction of the training utterances, drawn from ``data_seed``."""
        return frames_of_fraction(self.data.train, fraction, data_seed)

    def jobs(self, runs: list[Run]) -> list[Job]:
        """Return one job for models trained together, one for the means over one ensemble's models, one for others."""
        nets, ensembles, others = defaultdict(list), defaultdict(list), []
        for run in runs:
            if isinstance(run, NetRun):
                nets[run.batch_key()].append(run)
            elif isinstance(run, EnsembleRun):
                ensembles[run.nets[0]].append(run)
            elif isinstance(run, DecodingRun):
                others.append(Job(run.arm, self.decode, (run,), self.recognizer.flops("test"), driver_only=True))
            elif isinstance(run, ScaleRun):
                flops = len(run.nets) * len(run.scales) * self.recognizer.flops("validation")
                others.append(Job(run.arm, self.compare_scales, (run,), flops, driver_only=True))
            else:
                others.append(Job(run.arm, self.measure_target_precision, (run,), 1.0))
        averages = [
            Job(group[0].arm, self.average, (group,), self.ensemble_flops(group)) for group in ensembles.values()
        ]
        training = [
            Job(
                group[0].arm,
                self.train,
                (group,),
                self.flops(group),
                memory_bytes=JOB_BYTES + self._cache_bytes(group),
            )
            for group in nets.values()
        ]
        return [*training, *averages, *others]

    def flops(self, nets: list[NetRun]) -> float:
        """Return the operations of training these models together, soft targets and evaluations included."""
        first = nets[0]
        cases = self.cases(first.fraction, first.data_seed)
        steps, batch = first.recipe.steps(len(cases)), first.recipe.batch_size
        evaluated = self.measure.count(cases, first.num_evals, first.early_stopping)
        training = len(nets) * steps * step_flops((INPUTS, *first.hidden_units, STATES), batch)
        flops = training + forward_flops(nets, evaluated)
        if first.teacher is not None:
            flops += forward_flops(first.teacher.nets, len(cases) if self._cache_bytes(nets) else steps * batch)
        return flops

    def ensemble_flops(self, ensembles: list[EnsembleRun]) -> float:
        """Return the FLOPs of evaluating means of the first few models of one ensemble."""
        return forward_flops(max((ensemble.nets for ensemble in ensembles), key=len), self.measure.count_held_out())

    def population(self, nets: tuple[NetRun, ...] | list[NetRun]) -> BatchedMLP:
        """Return finished models of one shape as one batched MLP."""
        states = [self.load_tensors(net) for net in nets]
        stacked = make_net(nets[0].hidden_units, STATES, [net.seed for net in nets], self.compute)
        stacked.load_state_dict({name: torch.cat([state[name] for state in states]) for name in states[0]})
        return stacked

    def train(self, nets: list[NetRun]) -> None:
        """Train models together, and store their records and weights."""
        first, start = nets[0], time.monotonic()
        self.progress.now(f"{first.arm}, {len(nets)} nets")
        group, cases = run_store.key([self.key(net) for net in nets]), self.cases(first.fraction, first.data_seed)
        members = [MemberSpec(net.seed, net.temperature, net.hard_label_weight) for net in nets]
        validation = Watched(self.data.validation, self.settings.eval_frame_stride) if first.early_stopping else None
        training = FrameTrainer(
            hidden=first.hidden_units, members=members, frames=self.data.train, cases=cases, states=STATES,
            order=first.data_seed, teacher=self._teacher(nets, cases),
            context=TrainerContext(
                recipe=first.recipe, compute=self.compute, checkpoint=self.store.checkpoint(group),
                validation=validation,
            ),
        )  # fmt: skip
        flops, earlier = self.flops(nets) / training.steps, training.seconds
        advice, diverged = "lower its learning_rate", False
        try:
            for snapshot in self.train_loop(training, first.num_evals, flops, name=first.arm, advice=advice):
                seen = self.measure.look(snapshot.net, cases)
                losses = snapshot.loss.tolist()
                training.history.append(
                    [snapshot.epoch, [[*of_net, loss] for of_net, loss in zip(seen, losses, strict=True)]]
                )
                parts = zip(("training", "validation", "test"), zip(*seen, strict=True), strict=True)
                self.log(nets, snapshot, {f"{part}_frame_accuracy": values for part, values in parts})
            measured = zip(nets, self.measure.nets(training.net, cases), strict=True)
            results = [self.require_finite(net, metrics) for net, metrics in measured]
        except Diverged:
            if first.arm != Arm.SEARCH:
                raise
            diverged = True
        if diverged:
            seconds = training.seconds / len(nets)
            del training  # its memory is free when candidates are trained again
            self.store.checkpoint(group).unlink(missing_ok=True)
            return self._judge_diverged(nets, seconds)
        if first.early_stopping:
            stopped = self.measure.nets(training.best_net(), cases)
            per_epoch = first.recipe.batch_size / len(cases)
            for last, best, step in zip(results, stopped, training.best_step.tolist(), strict=True):
                last |= {f"stopped_{name}": value for name, value in best.items() if "speaker_cases" not in name}
                last["stopped_epoch"] = round(step * per_epoch, 3)
        seconds = (earlier + time.monotonic() - start) / len(nets)
        records = [
            self.record(net, about | {"train_frames": len(cases)},
                        [[epoch, *of_nets[m]] for epoch, of_nets in training.history], seconds, len(nets))
            for m, (net, about) in enumerate(zip(nets, results, strict=True))
        ]  # fmt: skip
        self.store.add(group, records, training.net.state_dict())

    def _judge_diverged(self, nets: list[NetRun], seconds: float) -> None:
        """Train each candidate alone, to tell which of them diverge; store that a single one does."""
        candidates = dict.fromkeys(net.params for net in nets)
        if len(candidates) > 1:
            for params in candidates:
                self.train([net for net in nets if net.params == params])
            return
        lost = [self.record(net, {"diverged": True}, [], seconds, len(nets)) for net in nets]
        self.store.add(run_store.key([self.key(net) for net in nets]), lost, {})

    def _teacher(self, nets: list[NetRun], cases: Int[Tensor, "case"]) -> Teacher | None:
        ensemble = nets[0].teacher
        if ensemble is None:
            return None
        means = [net.teacher.mean for net in nets if net.teacher is not None]
        teacher = Teacher(self.population(ensemble.nets), means, [net.temperature for net in nets])
        if self._cache_bytes(nets):
            teacher.cache(Inputs(self.data.train, self.compute), cases, len(self.data.train))
        return teacher

    def _cache_bytes(self, nets: list[NetRun]) -> int:
        """Return the size of the soft targets if they are computed once: profile and machine have the memory.

        0 if they are computed for each batch, as those of the arithmetic mean are, whose logits depend on T.
        """
        size = self.compute.dtype.itemsize * STATES * len(self.cases(nets[0].fraction, nets[0].data_seed))
        limit = min(1e9 * self.settings.soft_target_cache_gb, memory_bytes() - JOB_BYTES)
        geometric = nets[0].teacher is not None and all(net.teacher.mean == "geometric" for net in nets if net.teacher)
        return size if geometric and size <= limit else 0

    def average(self, ensembles: list[EnsembleRun]) -> None:
        """Evaluate means of the first few models of one ensemble, all in one pass over the data."""
        start, largest = time.monotonic(), max(ensembles, key=lambda ensemble: len(ensemble.nets))
        self.progress.now(largest.arm)
        wanted = [(len(ensemble.nets), ensemble.mean) for ensemble in ensembles]
        results = self.measure.ensembles(self.population(largest.nets), wanted)
        seconds = (time.monotonic() - start) / len(ensembles)
        for ensemble, metrics in zip(ensembles, results, strict=True):
            record = self.record(ensemble, metrics, [], seconds, len(ensembles))
            self.store.add(self.key(ensemble), [record], {})
        self.progress.advance(self.ensemble_flops(ensembles))

    def decode(self, run: DecodingRun) -> None:
        """Decode the test utterances with a system's scores, and store the word errors."""
        self.progress.now(run.arm)
        start, net = time.monotonic(), None
        if run.system is not None:
            net = self.population(run.system.nets if isinstance(run.system, EnsembleRun) else (run.system,))
        metrics = self.recognizer.test_errors(net, run.scale, run.general_words)
        self.store.add(self.key(run), [self.record(run, metrics, [], time.monotonic() - start)], {})

    def compare_scales(self, run: ScaleRun) -> None:
        """Decode the validation utterances with each model at each acoustic scale, and store the word error rates."""
        self.progress.now(run.arm)
        start, nets = time.monotonic(), [self.population((net,)) for net in run.nets]
        metrics = self.recognizer.validation_rates(nets, run.scales, run.general_words)
        self.store.add(self.key(run), [self.record(run, metrics, [], time.monotonic() - start)], {})

    def measure_target_precision(self, run: TargetPrecisionRun) -> None:
        """Measure what inexact storage of the soft targets changes, on some validation frames."""
        self.progress.now(run.arm)
        start, chosen = time.monotonic(), sample(torch.arange(len(self.data.validation)), PRECISION_FRAMES)
        batch = Inputs(self.data.validation, self.compute)[chosen]
        ensemble, student = self.population(run.ensemble.nets), self.population([run.student])
        rows = [row for t in run.temperatures for row in storage_errors(ensemble, student, batch, t)]
        record = self.record(run, {"rows": rows, "frames": len(chosen)}, [], time.monotonic() - start)
        self.store.add(self.key(run), [record], {})


def forward_flops(nets: Sequence[NetRun], frames: int) -> float:
    """Return the FLOPs of the models' forward passes on a number of frames."""
    return 2 * frames * sum(count_multiply_adds((INPUTS, *net.hidden_units, STATES)) for net in nets)


def make_runner(folder_setting: Path | None) -> Callable[..., SpeechRunner]:
    """Return a function that loads and aligns the corpus of some settings and returns a runner on it.

    Args:
        folder_setting: data directory; None for the default one.
    """

    def make(settings: SpeechSettings, *, store: Store, progress: ProgressDisplay, **shared: Any) -> SpeechRunner:
        corpus = sources.load(settings.data, data_folder(folder_setting), progress.say)
        progress.say(f"{corpus.name}: {len(corpus.train)} training and {len(corpus.test)} test utterances; "
                     f"alignments are cached in {store.folder / 'aligned'}")  # fmt: skip
        fraction = settings.data.validation_speaker_fraction
        processes = min(cores(), torch.get_num_threads())
        data = prepare(corpus, store.folder / "aligned", fraction, processes, progress.say)
        used = sum(len(frames.ids) for frames in (data.train, data.validation, data.test))
        progress.list_by_reason("utterances", used, data.left_out, data.remarked)
        return SpeechRunner(settings=settings, corpus=corpus, data=data, store=store, progress=progress, **shared)

    return make
