"""Shape annotations are checked in every test; a small stand-in for MNIST serves where the real one need not."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import install_import_hook
from matplotlib.figure import Figure
from PIL import Image

install_import_hook(
    [
        *("repro.kd.losses", "repro.models.mlp", "repro.evaluation.metrics", "repro.training.images"),
        *("repro.speech.features", "repro.speech.evaluate", "repro.speech.training"),
        *("repro.specialists.clustering", "repro.specialists.inference", "repro.specialists.specialist"),
    ],
    "beartype.beartype",
)

from repro.data.download import data_folder  # noqa: E402
from repro.data.mnist import Mnist, load  # noqa: E402
from repro.data.types import ImageData, ImageSet  # noqa: E402
from repro.engine import store  # noqa: E402
from repro.engine.progress import ProgressDisplay  # noqa: E402
from repro.engine.runner import Runner  # noqa: E402
from repro.mnist.runner import MnistRunner  # noqa: E402
from repro.training import compute  # noqa: E402


def blobs(count: int, seed: int) -> ImageSet:
    """Images in which the class is a bright row of pixels under noise; the classes come in equal numbers."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 10
    images = 0.5 * torch.rand(count, 28, 28, generator=draw)
    images[torch.arange(count), 2 + 2 * labels] += 0.5
    return ImageSet(images.flatten(1), labels)


def write_pets(here: Path) -> None:
    """Six classes of small pictures in torchvision's ImageFolder layout, in the folder ``pets``."""
    draw = np.random.default_rng(0)
    for part, count in (("train", 20), ("test", 4)):
        for c in range(6):
            folder = here / "pets" / part / f"pet {c}"
            folder.mkdir(parents=True)
            for number in range(count):
                picture = draw.integers(0, 100, (16, 16, 3), dtype=np.uint8)
                picture[2 * c + 1] += 120
                Image.fromarray(picture).save(folder / f"{number}.png")


# Files whose tests take longest: the first to be handed out, so that no process is left alone with one at the end.
SLOWEST = (
    "test_random_kills",
    "test_cli",
    "test_local_pool",
    "test_committed",
    "test_experiment",
    "test_ray_pool",
    "test_build",
    "test_wheel",
    "test_page",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the slowest files first; the others keep their order."""
    places = {name: place for place, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(SLOWEST)))


# pytest-xdist's processes ignore Ctrl-C, and so would the commands that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def restore_signals():
    """Undo what a command that runs in this process does to signals."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def digits() -> Mnist:
    """1,200 training and 300 test images that a tiny network learns in a few steps."""
    return Mnist(blobs(1200, 0), blobs(300, 1), "toy")


@pytest.fixture
def toy() -> Mnist:
    """The same."""
    return digits()


@pytest.fixture(autouse=True)
def denormals_stay():
    """Hypothesis draws denormals, which training on the CPU flushes to zero."""
    torch.set_flush_denormal(False)
    yield
    torch.set_flush_denormal(False)


@pytest.fixture(autouse=True)
def threads_stay():
    """Tests that compare weights byte by byte need the threads that the tests before them had."""
    before = torch.get_num_threads()
    yield
    after = torch.get_num_threads()
    torch.set_num_threads(before)
    assert after == before, "a test changed the number of threads"


def draw_stubs(patch: pytest.MonkeyPatch) -> None:
    """Reports write stubs for figures, which take most of a report's time to lay out and draw."""
    patch.setattr(Figure, "savefig", lambda figure, content, **_: content.write(b"figure"))
    patch.setattr(Figure, "tight_layout", lambda figure, **_: None)


@pytest.fixture
def figures_are_stubs(monkeypatch):
    """The same, for one test."""
    draw_stubs(monkeypatch)


CLASSES = 20


def stripes(count: int, seed: int) -> ImageSet:
    """Images of 16x16 in which the class is the place of a bright line; classes c and c + 1 look alike."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    images = torch.randint(0, 120, (count, 1, 16, 16), generator=draw, dtype=torch.uint8)
    images[torch.arange(count), 0, 3 + labels // 2] += 120
    images[torch.arange(count), 0, :, 7] += (60 * (labels % 2)).to(torch.uint8)[:, None]
    return ImageSet(images, labels)


def striped() -> ImageData:
    """800 training, 200 validation and 300 test images of 20 classes."""
    names = tuple(f"class {c}" for c in range(CLASSES))
    return ImageData("stripy", names, stripes(800, 0), stripes(200, 1), stripes(300, 2), False, "stripy")


@pytest.fixture
def stripy() -> ImageData:
    """The same."""
    return striped()


@pytest.fixture(scope="session")
def real_folder() -> Path:
    """The data directory with the real MNIST in it, fetched where it is missing."""
    folder = data_folder(None).resolve()
    load(folder)
    os.environ["REPRO_DATA"] = str(folder)
    return folder


def make_runner(folder: Path, settings, data, kind: type[Runner] = MnistRunner, **more) -> Runner:
    """Return a runner on the CPU in fp32 for given settings and data, its runs in a folder."""
    experiment = kind.__module__.split(".")[-2]
    provenance = {"experiment": experiment, "profile": "test", "overrides": [], "config": "none", "commit": "none"}
    folder.mkdir(exist_ok=True)
    run_store, cpu = store.Store(folder), compute.choose("cpu", "fp32")
    return kind(
        settings=settings,
        data=data,
        store=run_store,
        compute=cpu,
        progress=ProgressDisplay("test"),
        provenance=provenance,
        **more,
    )


@pytest.fixture
def runner_for(tmp_path: Path):
    """Return a function that makes runners; these keep their runs in the test's own folder."""
    return lambda settings, data, folder="runs", **more: make_runner(tmp_path / folder, settings, data, **more)


def same(runner: Runner, local: Runner) -> None:
    """Assert that weights and records are equal, except for the machine and the wall time."""
    assert runner.finished.keys() == local.finished.keys()
    weights = [{p.name: p.read_bytes() for p in each.store.folder.glob("*.safetensors")} for each in (runner, local)]
    assert weights[0] == weights[1]
    for key, record in runner.finished.items():
        plain = [{n: v for n, v in entry.items() if n not in ("wall_seconds", "machine")}
                 for entry in (record, local.finished[key])]  # fmt: skip
        assert plain[0] == plain[1]
