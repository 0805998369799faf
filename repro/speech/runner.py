"""How the runs of the speech experiment are made: trained, averaged or decoded."""

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from repro.data.download import data_folder
from repro.data.speech.corpus import Corpus
from repro.data.speech.sources import load
from repro.engine import store as run_store
from repro.engine.jobs import Job
from repro.engine.progress import ProgressDisplay
from repro.engine.runner import Runner
from repro.engine.store import Store
from repro.errors import UserError
from repro.models.flops import count_parameters, step_flops
from repro.models.mlp import BatchedMLP
from repro.speech.alignment import STATES
from repro.speech.decoding import pipeline
from repro.speech.ensemble_targets import Teacher
from repro.speech.evaluate import Measure, sample
from repro.speech.features import INPUTS, Inputs
from repro.speech.preparation import Prepared, prepare
from repro.speech.runs import Ensemble, Net, Rounding, Run, Words
from repro.speech.settings import SpeechSettings
from repro.speech.target_precision import errors
from repro.speech.training import FrameTrainer, Watched, make_net, share_of
from repro.training.compute import cores
from repro.training.mlp import MemberSpec
from repro.training.trainer import TrainerContext

# Counted up by hand when what a record says of the same weights changes: kept records of before are left.
RECORD_VERSION = 1
# The modules that decide what a run's weights become.
CODE_DEPENDENCIES = (
    "kd/fused_loss.py", "kd/losses.py", "models/mlp.py", "speech/ensemble_targets.py", "speech/training.py",
    "training/random_streams.py", "training/recipe.py", "training/trainer.py",
)  # fmt: skip
# Frames on which rounding is measured.
ROUNDED = 1000


@dataclass(kw_only=True)
class SpeechRunner(Runner):
    """Runs on a corpus; nets that can take their steps together are trained as one population."""

    settings: SpeechSettings
    corpus: Corpus
    data: Prepared

    @cached_property
    def measure(self) -> Measure:
        """How nets are looked at."""
        return Measure(self.data, self.compute, self.settings.curve_frames, self.settings.every)

    @property
    def data_digest(self) -> str:
        """The digest of the data that the runs are made on."""
        return self.data.digest

    def key_inputs(self, run: Run) -> list[Any]:
        """The code, the states, and which frames a run is measured on."""
        return [
            RECORD_VERSION,
            self.settings.every,
            self.settings.curve_frames,
            STATES,
            run_store.code_version(CODE_DEPENDENCIES),
        ]

    def settings_of(self, run: Run) -> dict[str, Any]:
        """As of every run; with the number of a student's teachers, and how words are decoded."""
        found = super().settings_of(run)
        if isinstance(run, Net):
            found["teachers"] = len(run.teacher.nets) if run.teacher else 0
        if isinstance(run, Words):
            found["decoding"] = self.settings.decoding.model_dump(mode="json", exclude={"nets"})
        return found

    def cases(self, share: float, draw: int) -> Int[Tensor, "frame"]:
        """The frames of a share of train's utterances, drawn from ``draw``."""
        return share_of(self.data.train, share, draw)

    def jobs(self, runs: list[Run]) -> list[Job]:
        """Nets that take their steps together as one job; means of the first nets of one ensemble, too."""
        nets, ensembles, jobs = defaultdict(list), defaultdict(list), []
        for run in runs:
            if isinstance(run, Net):
                nets[run.population_key()].append(run)
            elif isinstance(run, Ensemble):
                ensembles[run.nets[0]].append(run)
            else:
                make = self.decode if isinstance(run, Words) else self.round
                jobs.append(Job(run.arm, make, (run,), 1.0, here=isinstance(run, Words)))
        jobs = [Job(one[0].arm, self.average, (one,), 1.0) for one in ensembles.values()] + jobs
        return [Job(one[0].arm, self.train, (one,), self.flops(one)) for one in nets.values()] + jobs

    def flops(self, nets: list[Net]) -> float:
        """The arithmetic of training these together, soft targets included."""
        one = nets[0]
        steps, sizes = one.recipe.steps(len(self.cases(one.share, one.draw))), (INPUTS, *one.hidden, STATES)
        flops = step_flops(sizes, one.recipe.batch_size) * len(nets)
        if one.teacher is not None:
            flops += (
                sum(2 * count_parameters((INPUTS, *n.hidden, STATES)) for n in one.teacher.nets) * one.recipe.batch_size
            )
        return steps * flops

    def population(self, nets: tuple[Net, ...] | list[Net]) -> BatchedMLP:
        """Finished nets of one shape, stacked."""
        found = [self.load_tensors(net) for net in nets]
        net = make_net(nets[0].hidden, STATES, [one.seed for one in nets], self.compute)
        net.load_state_dict({name: torch.cat([one[name] for one in found]) for name in found[0]})
        return net

    def train(self, nets: list[Net]) -> None:
        """Train nets as one population, and keep their records and weights."""
        one, start = nets[0], time.monotonic()
        self.progress.now(f"{one.arm}, {len(nets)} nets")
        group, cases = run_store.key([self.key(net) for net in nets]), self.cases(one.share, one.draw)
        members = [MemberSpec(net.seed, net.temperature, net.hard_label_weight) for net in nets]
        validation = Watched(self.data.validation, self.settings.every) if one.early_stopping else None
        training = FrameTrainer(
            hidden=one.hidden, members=members, frames=self.data.train, cases=cases, states=STATES, order=one.draw,
            teacher=self._teacher(nets, cases),
            context=TrainerContext(
                recipe=one.recipe, compute=self.compute, checkpoint=self.store.checkpoint(group), validation=validation
            ),
        )  # fmt: skip
        flops, earlier = self.flops(nets) / training.steps, training.seconds
        self.progress.expect(-flops * training.step)  # done in an earlier sitting
        for snapshot in training.run(one.num_evals, lambda: self.progress.advance(flops)):
            if not snapshot.loss.isfinite().all():
                raise UserError(f"{one.arm}: training diverged (the loss is not finite); lower its learning_rate")
            seen = self.measure.look(snapshot.net, cases)
            losses = snapshot.loss.tolist()
            training.history.append(
                [round(snapshot.epoch, 3), [[*of_net, loss] for of_net, loss in zip(seen, losses, strict=True)]]
            )
        found = self.measure.nets(training.net, cases)
        if one.early_stopping:
            stopped = self.measure.nets(training.best_net(), cases)
            per_epoch = one.recipe.batch_size / len(cases)
            for last, best, step in zip(found, stopped, training.best_step.tolist(), strict=True):
                last |= {f"stopped_{name}": value for name, value in best.items() if "speaker_cases" not in name}
                last["stopped_epoch"] = round(step * per_epoch, 3)
        seconds = (earlier + time.monotonic() - start) / len(nets)
        records = [
            self.record(net, about | {"train_frames": len(cases)},
                        [[epoch, *of_nets[m]] for epoch, of_nets in training.history], seconds, len(nets))
            for m, (net, about) in enumerate(zip(nets, found, strict=True))
        ]  # fmt: skip
        self.store.add(group, records, training.net.state_dict())

    def _teacher(self, nets: list[Net], cases: Int[Tensor, "case"]) -> Teacher | None:
        one = nets[0]
        if one.teacher is None:
            return None
        means = [net.teacher.mean for net in nets if net.teacher is not None]
        teacher = Teacher(self.population(one.teacher.nets), means, [net.temperature for net in nets])
        if teacher.can_keep(len(cases)):
            teacher.keep(Inputs(self.data.train, self.compute), cases, len(self.data.train))
        return teacher

    def average(self, ensembles: list[Ensemble]) -> None:
        """Measure means of the first few nets of one ensemble, all in one pass."""
        start, largest = time.monotonic(), max(ensembles, key=lambda one: len(one.nets))
        self.progress.now(largest.arm)
        wanted = [(len(one.nets), one.mean) for one in ensembles]
        found = self.measure.ensembles(self.population(largest.nets), wanted)
        seconds = (time.monotonic() - start) / len(ensembles)
        for one, about in zip(ensembles, found, strict=True):
            record = self.record(one, about, [], seconds, len(ensembles))
            self.store.add(self.key(one), [record], {})

    def decode(self, run: Words) -> None:
        """Decode test with a system's scores, and keep how many words are wrong."""
        self.progress.now(run.arm)
        start, what, own = time.monotonic(), self.task, self.settings.decoding
        if run.system is None:
            found = pipeline.decode_stock(what, self.data, self.corpus, cores())
        else:
            net = self.population(run.system.nets if isinstance(run.system, Ensemble) else [run.system])
            prior = pipeline.log_prior(self.data.train)
            make = lambda frames, some: pipeline.scores(net, frames, some, prior, self.compute)  # noqa: E731
            found = pipeline.decode(what, self.data, make, own.scales, own.most_active, cores())
        record = self.record(run, found, [], time.monotonic() - start)
        self.store.add(self.key(run), [record], {})

    def round(self, run: Rounding) -> None:
        """Measure what is lost where soft targets are not held exactly, on some validation frames."""
        self.progress.now(run.arm)
        start, some = time.monotonic(), sample(torch.arange(len(self.data.validation)), ROUNDED)
        batch = Inputs(self.data.validation, self.compute)[some]
        ensemble, student = self.population(run.ensemble.nets), self.population([run.student])
        found = [row for t in run.temperatures for row in errors(ensemble, student, batch, t)]
        record = self.record(run, {"rows": found, "frames": len(some)}, [],
                             time.monotonic() - start)  # fmt: skip
        self.store.add(self.key(run), [record], {})

    @cached_property
    def task(self) -> pipeline.Task:
        """What is decoded, the same for all systems."""
        own = self.settings.decoding
        return pipeline.task(
            self.corpus, self.data, self.store.folder / "aligned", own.validation_utterances, own.utterances
        )


def make_runner(folder_setting: Path | None) -> Callable[..., SpeechRunner]:
    """What reads a corpus, aligns it, and gives a runner, once the settings are known."""

    def make(settings: SpeechSettings, *, store: Store, progress: ProgressDisplay, **shared: Any) -> SpeechRunner:
        corpus = load(settings.data, data_folder(folder_setting), progress.say)
        progress.say(f"{corpus.name}: {len(corpus.train)} training and {len(corpus.test)} test utterances; "
                  f"alignments are kept in {store.folder / 'aligned'}")  # fmt: skip
        on_chunk = lambda part, done, of: progress.say(f"aligned {part}, {done} of {of} chunks")  # noqa: E731
        data = prepare(corpus, store.folder / "aligned", settings.data.held_out, cores(), on_chunk)
        for what in (data.left_out, data.remarked):
            for reason, ids in what.items():
                progress.say(f"{len(ids)} utterances: {reason} (such as {', '.join(ids[:3])})")
        return SpeechRunner(settings=settings, corpus=corpus, data=data, store=store, progress=progress, **shared)

    return make
