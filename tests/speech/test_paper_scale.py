"""The profile ``paper_scale``: the paper's 8 layers of 2,560 units train and learn from an ensemble."""

import pytest
import torch
from torch import Tensor

from repro import config
from repro.speech.alignment import STATES
from repro.speech.ensemble_targets import Teacher
from repro.speech.features import BANKS, pack
from repro.speech.settings import SpeechSettings
from repro.speech.training import FrameTrainer, make_net
from repro.training import compute
from repro.training.mlp import MemberSpec
from repro.training.trainer import TrainerContext

SETTINGS = config.load(SpeechSettings, config.profile_path("speech", "paper_scale"))


def banks_and_states() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    return torch.randn(200, BANKS, generator=draw), torch.randint(STATES, (200,), generator=draw).short()


@pytest.mark.timeout(120)
def test_two_epochs_of_200_frames():
    frames = pack([("utterance", "speaker", *banks_and_states())])
    recipe = SETTINGS.distilled.recipe.model_copy(update={"epochs": 2, "batch_size": 100})
    chosen = compute.choose("cpu", "auto")
    teacher = Teacher(make_net(SETTINGS.hidden_units, STATES, [1, 2], chosen), ["geometric"], [2.0])
    training = FrameTrainer(
        hidden=SETTINGS.hidden_units, members=[MemberSpec(0, 2.0, SETTINGS.distilled.hard_label_weight)],
        frames=frames, cases=torch.arange(len(frames)), states=STATES, order=0,
        context=TrainerContext(recipe=recipe, compute=chosen), teacher=teacher,
    )  # fmt: skip
    parameters = sum(parameter.numel() for parameter in training.net.parameters())
    assert parameters == 61_685_766
    losses = [float(snapshot.loss.mean()) for snapshot in training.run(2)]
    assert len(losses) == 2 and losses[1] < losses[0]
