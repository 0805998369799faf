"""Settings and runners of the specialists experiment for tests."""

from functools import partial

import pytest

from repro import config
from repro.specialists.runner import SpecialistsRunner
from repro.specialists.settings import SpecialistsSettings


@pytest.fixture
def smoke() -> SpecialistsSettings:
    changes = ["specialists.classes_per_specialist=5", "ablations.subset_sizes=[4]", "max_train_examples=800"]
    return config.load(SpecialistsSettings, config.profile_path("specialists", "smoke"), changes)


@pytest.fixture
def runner_for(runner_for):
    return partial(runner_for, kind=SpecialistsRunner)
