"""The command line: thin, and the only place that exits."""

import contextlib
import functools
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from repro import __version__
from repro.errors import UserError

app = typer.Typer(
    help="Reproduce Hinton, Vinyals & Dean 2015, 'Distilling the Knowledge in a Neural Network'.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

Profile = Annotated[str, typer.Option(help="A name in paper_configs/<experiment>/, or a path to a .toml file.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Override one setting, e.g. teacher.recipe.epochs=20. Repeatable."),
]
Data = Annotated[Path | None, typer.Option(help="Data directory. Default: $REPRO_DATA, else ./data.")]
Runs = Annotated[Path, typer.Option(help="Where finished runs and checkpoints are kept.")]
Out = Annotated[
    Path | None,
    typer.Option(help="Where results/ and figures/ go. Default: here for profile paper, runs/<profile> for others."),
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Precision = Annotated[str, typer.Option(help="auto, fp32 or bf16 (hidden-layer matmuls; weights stay fp32).")]


@app.command()
def mnist(
    profile: Profile = "paper",
    set_: Set = None,
    data: Data = None,
    runs: Runs = Path("runs"),
    out: Out = None,
    device: Device = "auto",
    precision: Precision = "auto",
    finished_only: Annotated[bool, typer.Option("--finished-only", help="Train nothing: record what is finished.")] = False,
) -> None:
    """Section 3: teacher, students, temperatures, missing classes; ends with the table."""
    from rich.console import Console

    from repro.mnist import experiment
    from repro.mnist.settings import MnistSettings
    from repro.report import build, records

    folder = out or (Path() if profile == "paper" else runs / profile)
    with _bench("mnist", profile, MnistSettings, set_, data, runs, folder, device, precision) as (settings, bench):
        bench.finished_only = finished_only
        experiment.run(settings, bench, lambda found: bench.watch.say(build.headline(found)))
        finished = records.complete(list(bench.finished.values()))
        digits = experiment.shown_digits(settings, bench)
    records.save(folder, "mnist", "mnist", finished, digits)
    build.report(folder)
    Console().print(build.closing(folder, "mnist"))


@app.command()
def mnist_choice(
    profile: Profile = "choice",
    set_: Set = None,
    data: Data = None,
    runs: Runs = Path("runs"),
    out: Out = None,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Train the recipes that the paper profile was chosen from, and judge them on the validation split."""
    from repro.mnist import experiment
    from repro.mnist.settings import ChoiceSettings
    from repro.report import build, records

    folder = out or (Path() if profile == "choice" else runs / profile)
    with _bench("mnist", profile, ChoiceSettings, set_, data, runs, folder, device, precision) as (settings, bench):
        experiment.choose(settings, bench)
    records.save(folder, "mnist", "choice", list(bench.finished.values()))
    build.report(folder)
    print((folder / "results/mnist/choice/recipes.md").read_text(encoding="utf-8"))


@app.command()
def report(out: Annotated[Path, typer.Option(help="The folder that holds results/ and figures/.")] = Path()) -> None:
    """Make every table, figure and verdict anew from results/*/*/records.jsonl. Trains nothing."""
    from repro.report import build

    build.report(out)
    print(f"made anew: {out / 'results'}, {out / 'figures'}, {out / 'REPRODUCE.md'}")


@app.command()
def bench(
    data: Data = None,
    out: Annotated[Path, typer.Option(help="The folder that holds results/.")] = Path(),
    repeats: Annotated[int, typer.Option(min=1, help="How often each side of a ratio is timed.")] = 5,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Measure the speed ratios of results/bench.json; both sides of each in turn, in this process."""
    from repro.bench import measure
    from repro.core import compute
    from repro.data.mnist import data_folder

    print(measure(data_folder(data), out / "results" / "bench.json", compute.choose(device, precision), repeats, commit()))


@app.command()
def data(data: Data = None) -> None:
    """Fetch and check the data sets."""
    from repro.data import mnist as source

    folder = source.data_folder(data)
    source.load(folder)
    print(f"MNIST is in {folder / 'mnist'}, as published")


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit


@contextlib.contextmanager
def _bench(
    experiment: str, profile: str, model: type, overrides: list[str] | None, data: Path | None,
    runs: Path, out: Path, device: str, precision: str,
) -> Iterator[tuple[Any, Any]]:  # fmt: skip
    """Everything a training command needs, with the runs folder locked; settings are checked first."""
    from repro import config
    from repro.core import compute, store
    from repro.core.progress import Watch
    from repro.data import mnist as source
    from repro.mnist.runs import Bench

    path = config.profile_path(experiment, profile)
    settings = config.load(model, path, overrides)
    chosen = compute.choose(device, precision)
    kept = store.Store(runs / experiment)
    store.check_writable(out)
    with kept.lock():
        images = source.load(source.data_folder(data)).first(settings.train_cases)
        about = {
            "experiment": experiment, "profile": path.stem, "overrides": overrides or [],
            "config": f"paper_configs/{experiment}/{path.name}", "commit": commit(),
        }  # fmt: skip
        with Watch(experiment) as watch:
            watch.say(f"{experiment}, profile {path.stem}: {chosen.device.type}, {chosen.precision}; "
                      f"runs are kept in {kept.folder}, results go to {out / 'results'}")  # fmt: skip
            yield settings, Bench(settings, images, kept, chosen, watch, about)


@functools.cache
def commit() -> str:
    """The commit this code stands at, with ``-dirty`` where it was changed; ``unknown`` outside a checkout."""
    here = Path(__file__).parents[1]
    git: Callable[..., str] = lambda *words: subprocess.run(  # noqa: E731
        ["git", "-C", str(here), *words], capture_output=True, text=True, check=True
    ).stdout.strip()
    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "repro", "paper_configs")
        return git("rev-parse", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def main() -> None:
    """Run the command line: 0 done, 2 something of the user's is wrong, 130 interrupted."""
    try:
        app(standalone_mode=False)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        sys.exit(130)
    except typer.Exit as leave:
        sys.exit(leave.exit_code)
    except typer.Abort:
        print("interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if hasattr(error, "format_message"):  # a wrong option or command, found by typer
            print(f"error: {error.format_message()}", file=sys.stderr)
            sys.exit(2)
        raise


if __name__ == "__main__":
    main()
