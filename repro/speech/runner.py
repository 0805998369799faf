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

from repro.core import store
from repro.core.compute import cores
from repro.core.executor import Job
from repro.core.population import Population, count_weights, step_flops
from repro.core.progress import Watch
from repro.core.runner import Runner
from repro.core.train import Member
from repro.data.corpus import Corpus
from repro.data.place import data_folder
from repro.errors import UserError
from repro.speech import words
from repro.speech.alignment import STATES
from repro.speech.corpora import load
from repro.speech.frames import INPUTS
from repro.speech.measure import Measure, sample
from repro.speech.prepare import Prepared, prepare
from repro.speech.rounding import errors
from repro.speech.runs import Ensemble, Net, Rounding, Run, Words
from repro.speech.settings import SpeechSettings
from repro.speech.training import FrameTraining, Inputs, Teacher, make_net, share_of

# Counted up by hand when what a record says of the same weights changes: kept records of before are left.
MEASUREMENT = 1
# The modules that decide what a run's weights become.
NUMERICS = ("core/distill.py", "core/loop.py", "core/noise.py", "core/output_layer.py", "core/population.py",
            "core/recipe.py", "speech/training.py")  # fmt: skip
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

    def made_of(self, run: Run) -> list[Any]:
        """The code, the states, and which frames a run is measured on."""
        return [MEASUREMENT, self.settings.every, self.settings.curve_frames, STATES, store.code_version(NUMERICS)]

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
                jobs.append(Job(run.role, make, (run,), 1.0, here=isinstance(run, Words)))
        jobs = [Job(one[0].role, self.average, (one,), 1.0) for one in ensembles.values()] + jobs
        return [Job(one[0].role, self.train, (one,), self.flops(one)) for one in nets.values()] + jobs

    def flops(self, nets: list[Net]) -> float:
        """The arithmetic of training these together, soft targets included."""
        one = nets[0]
        steps, sizes = one.recipe.steps(len(self.cases(one.share, one.draw))), (INPUTS, *one.hidden, STATES)
        flops = step_flops(sizes, one.recipe.batch) * len(nets)
        if one.teacher is not None:
            flops += sum(2 * count_weights((INPUTS, *n.hidden, STATES)) for n in one.teacher.nets) * one.recipe.batch
        return steps * flops

    def population(self, nets: tuple[Net, ...] | list[Net]) -> Population:
        """Finished nets of one shape, stacked."""
        found = [self.tensors_of(net) for net in nets]
        net = make_net(nets[0].hidden, STATES, [one.seed for one in nets], self.compute)
        net.load_state_dict({name: torch.cat([one[name] for one in found]) for name in found[0]})
        return net

    def train(self, nets: list[Net]) -> None:
        """Train nets as one population, and keep their records and weights."""
        one, start = nets[0], time.monotonic()
        self.watch.now(f"{one.role}, {len(nets)} nets")
        group, cases = store.key([self.key(net) for net in nets]), self.cases(one.share, one.draw)
        members = [Member(net.seed, net.temperature, net.hard_weight) for net in nets]
        training = FrameTraining(
            one.hidden, members, self.data.train, cases, STATES, one.recipe, self.compute, one.draw,
            self._teacher(nets, cases), self.kept.checkpoint(group),
            self.data.validation if one.early_stopping else None, self.settings.every,
        )  # fmt: skip
        flops, earlier = self.flops(nets) / training.steps, training.seconds
        self.watch.expect(-flops * training.step)  # done in an earlier sitting
        for snapshot in training.run(one.looks, lambda: self.watch.advance(flops)):
            if not snapshot.loss.isfinite().all():
                raise UserError(f"{one.role}: training diverged (the loss is not finite); lower its learning_rate")
            seen = self.measure.look(snapshot.net, cases)
            losses = snapshot.loss.tolist()
            training.history.append(
                [round(snapshot.epoch, 3), [[*of_net, loss] for of_net, loss in zip(seen, losses, strict=True)]]
            )
        found = self.measure.nets(training.net, cases)
        if one.early_stopping:
            stopped = self.measure.nets(training.best_net(), cases)
            per_epoch = one.recipe.batch / len(cases)
            for last, best, step in zip(found, stopped, training.best_step.tolist(), strict=True):
                last |= {f"stopped_{name}": value for name, value in best.items() if "speaker_cases" not in name}
                last["stopped_epoch"] = round(step * per_epoch, 3)
        seconds = (earlier + time.monotonic() - start) / len(nets)
        records = [
            self.record(net, about | {"train_frames": len(cases)},
                        [[epoch, *of_nets[m]] for epoch, of_nets in training.history], seconds, len(nets))
            for m, (net, about) in enumerate(zip(nets, found, strict=True))
        ]  # fmt: skip
        self.kept.add(group, records, training.net.state_dict())

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
        self.watch.now(largest.role)
        wanted = [(len(one.nets), one.mean) for one in ensembles]
        found = self.measure.ensembles(self.population(largest.nets), wanted)
        seconds = (time.monotonic() - start) / len(ensembles)
        for one, about in zip(ensembles, found, strict=True):
            record = self.record(one, about, [], seconds, len(ensembles))
            self.kept.add(self.key(one), [record], {})

    def decode(self, run: Words) -> None:
        """Decode test with a system's scores, and keep how many words are wrong."""
        self.watch.now(run.role)
        start, what, own = time.monotonic(), self.task, self.settings.decoding
        if run.system is None:
            found = words.decode_stock(what, self.data, self.corpus, cores())
        else:
            net = self.population(run.system.nets if isinstance(run.system, Ensemble) else [run.system])
            prior = words.log_prior(self.data.train)
            make = lambda frames, some: words.scores(net, frames, some, prior, self.compute)  # noqa: E731
            found = words.decode(what, self.data, make, own.scales, own.most_active, cores())
        record = self.record(run, found, [], time.monotonic() - start)
        self.kept.add(self.key(run), [record], {})

    def round(self, run: Rounding) -> None:
        """Measure what is lost where soft targets are not held exactly, on some validation frames."""
        self.watch.now(run.role)
        start, some = time.monotonic(), sample(torch.arange(len(self.data.validation)), ROUNDED)
        batch = Inputs(self.data.validation, self.compute)[some]
        ensemble, student = self.population(run.ensemble.nets), self.population([run.student])
        found = [row for t in run.temperatures for row in errors(ensemble, student, batch, t)]
        record = self.record(run, {"rows": found, "frames": len(some)}, [],
                             time.monotonic() - start)  # fmt: skip
        self.kept.add(self.key(run), [record], {})

    @cached_property
    def task(self) -> words.Task:
        """What is decoded, the same for all systems."""
        own = self.settings.decoding
        return words.task(
            self.corpus, self.data, self.kept.folder / "aligned", own.validation_utterances, own.utterances
        )


def make_runner(folder_setting: Path | None) -> Callable[..., SpeechRunner]:
    """What reads a corpus, aligns it, and gives a runner, once the settings are known."""

    def make(settings: SpeechSettings, *, kept: store.Store, watch: Watch, **shared: Any) -> SpeechRunner:
        corpus = load(settings.data, data_folder(folder_setting), watch.say)
        watch.say(f"{corpus.name}: {len(corpus.train)} training and {len(corpus.test)} test utterances; "
                  f"alignments are kept in {kept.folder / 'aligned'}")  # fmt: skip
        on_chunk = lambda part, done, of: watch.say(f"aligned {part}, {done} of {of} chunks")  # noqa: E731
        data = prepare(corpus, kept.folder / "aligned", settings.data.held_out, cores(), on_chunk)
        for what in (data.left_out, data.remarked):
            for reason, ids in what.items():
                watch.say(f"{len(ids)} utterances: {reason} (such as {', '.join(ids[:3])})")
        return SpeechRunner(settings=settings, corpus=corpus, data=data, kept=kept, watch=watch, **shared)

    return make
