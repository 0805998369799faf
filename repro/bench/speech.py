"""Speed ratios of the speech experiment: each side is set up once, and the two are timed in turn."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from repro.bench.timing import PlainSteps, Side, Steps, TensorSteps, clock, linear, matmuls
from repro.data.speech.corpus import RATE, Corpus
from repro.errors import UserError
from repro.speech.alignment import STATES
from repro.speech.decoding import pipeline
from repro.speech.decoding.decoder import Decoder, Search
from repro.speech.features import AFTER, BEFORE, INPUTS, Frames, filterbanks, pack
from repro.speech.preparation import Prepared
from repro.speech.settings import SpeechSettings
from repro.speech.training import FrameTrainer
from repro.training.compute import Compute, cores
from repro.training.mlp import MemberSpec
from repro.training.recipe import Recipe
from repro.training.trainer import TrainerContext

STEPS = 10
# Epochs of the network that decodes: enough for scores that differ as those of a trained network do.
PASSES = 12


def ratios(
    settings: SpeechSettings, corpus: Corpus, data: Prepared, folder: Path, compute: Compute
) -> dict[str, tuple[Side, Side]]:
    """Return numerator and denominator of each ratio: functions that do the work once and return seconds.

    Args:
        folder: folder of the language model's file.
    """
    steady = settings.recipe.model_copy(update={"schedule": "constant", "warmup_fraction": 0.0, "learning_rate": 5e-4})
    count, batch, sizes = settings.ensemble_size, steady.batch_size, (INPUTS, *settings.hidden_units, STATES)
    together, alone = (Steps(training(settings, data, compute, steady, n), STEPS) for n in (count, 1))
    ours, *others = (Steps(training(settings, data, compute, steady, 1), STEPS) for _ in range(3))
    spoken = Realtime(settings, corpus, data, folder, compute)
    return {
        "speech.step_matmul_share": (lambda: matmuls(sizes, batch, count, compute, STEPS, False), together),
        "speech.vs_dataloader": (plain(data.train, ours.training), ours),
        "speech.vs_tensor_loop_fp32": (tensor_loop(data.train, others[0].training, autocast=False), others[0]),
        "speech.vs_tensor_loop_bf16": (tensor_loop(data.train, others[1].training, autocast=True), others[1]),
        "speech.ensemble_gain": (lambda: sum(alone() for _ in range(count)), together),
        "speech.realtime": (lambda: spoken.audio, spoken),
    }


def training(settings: SpeechSettings, data: Prepared, compute: Compute, recipe: Recipe, count: int) -> FrameTrainer:
    """Return a trainer of ``count`` of the experiment's networks."""
    members = [MemberSpec(seed) for seed in range(count)]
    cases = torch.arange(len(data.train))
    return FrameTrainer(
        hidden=settings.hidden_units,
        members=members,
        frames=data.train,
        cases=cases,
        states=STATES,
        order=0,
        context=TrainerContext(recipe=recipe, compute=compute),
    )


def plain(frames: Frames, ours: FrameTrainer) -> PlainSteps:
    """Return the steps of a plain loop: a Dataset that cuts out one window at a time."""
    net = network(ours)
    optimizer = torch.optim.AdamW(net.parameters(), lr=ours.recipe.learning_rate, weight_decay=0.0)
    return PlainSteps(Windows(frames), ours.order, STEPS, net, optimizer)


def tensor_loop(frames: Frames, ours: FrameTrainer, autocast: bool) -> TensorSteps:
    """Return the steps of a careful user's loop: frames in memory, windows by indexing, a fused optimizer."""
    net, device = network(ours), ours.states.device
    windows = frames.banks.to(device).unfold(0, BEFORE + AFTER + 1, 1)
    first, states = frames.place.to(device) - BEFORE, frames.states.long().to(device)

    def batch(indices: Tensor) -> tuple[Tensor, Tensor]:
        return windows[first[indices.to(device)]].flatten(1), states[indices.to(device)]

    optimizer = torch.optim.AdamW(net.parameters(), lr=ours.recipe.learning_rate, weight_decay=0.0, fused=True)
    return TensorSteps(batch, ours.order, STEPS, net, optimizer, autocast=autocast)


def network(ours: FrameTrainer) -> nn.Sequential:
    """Return our network as modules of PyTorch."""
    layers: list[nn.Module] = []
    for weight, bias in zip(ours.net.weights, ours.net.biases, strict=True):
        layers += [linear(weight, bias), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).to(ours.states.device)


class Windows(Dataset):
    """A map-style dataset of frames that cuts out a window on access."""

    def __init__(self, frames: Frames):
        self.banks, self.place, self.states = frames.banks, frames.place.tolist(), frames.states.tolist()

    def __len__(self) -> int:
        return len(self.place)

    def __getitem__(self, frame: int) -> tuple[Tensor, int]:
        at = self.place[frame]
        return self.banks[at - BEFORE : at + AFTER + 1].T.flatten(), self.states[frame]


class Realtime:
    """From recordings to words: filterbanks, scores, decoding on all cores; ``audio`` is their duration in seconds."""

    def __init__(self, settings: SpeechSettings, corpus: Corpus, data: Prepared, folder: Path, compute: Compute):
        self.data, self.compute, self.prior = data, compute, pipeline.log_prior(data.train)
        recipe = settings.recipe.model_copy(update={"epochs": PASSES})
        learning = training(settings, data, compute, recipe, 1)
        for _ in learning.run():
            pass
        self.net = learning.net
        number = {id: n for n, id in enumerate(data.test.ids)}
        self.spoken = sorted(
            (recording for recording in corpus.test if recording.id in number),
            key=lambda recording: number[recording.id],
        )
        self.audio = sum(len(recording.read()[0]) for recording in self.spoken) / RATE
        task, decoding = pipeline.make_task(corpus, data, folder, 1, 1), settings.decoding
        if decoding is None:
            raise UserError("bench: the profile has no [decoding]")
        scales = decoding.acoustic_scales
        search = Search(acoustic_scale=scales[len(scales) // 2], max_active_hmms=decoding.max_active_hmms)
        self.decoders = [Decoder(task.pronunciations, task.language_model, search) for _ in range(cores())]

    def __call__(self) -> float:
        """Return the seconds needed for all test recordings."""
        start = clock(self.compute.device)
        heard = []
        for recording in self.spoken:
            banks = filterbanks(recording.read()[0])
            heard.append((recording.id, recording.speaker, banks, torch.zeros(len(banks), dtype=torch.int16)))
        frames, chosen = pack(heard), torch.arange(len(heard))
        scores = pipeline.scores(self.net, frames, chosen, self.prior, self.compute)
        pipeline.decode_scores(self.decoders, scores)
        return clock(self.compute.device) - start
