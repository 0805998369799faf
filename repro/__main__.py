"""The command line: thin, and the only place that exits."""

import multiprocessing
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from repro import __version__
from repro.config import COMMITTED
from repro.errors import UserError

# PyTorch and what reports are made with take seconds to load: the one only for commands that need it, the other only
# once the settings are known to be right.
if TYPE_CHECKING:
    from repro.session import Options

if multiprocessing.parent_process() is not None:
    # In a process that a command started: Ctrl-C is for the command, which ends its processes itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

app = typer.Typer(
    help="Reproduce Hinton, Vinyals & Dean 2015, 'Distilling the Knowledge in a Neural Network'.",
    pretty_exceptions_enable=False,
    add_completion=False,
)

Profile = Annotated[str, typer.Option(help="A name in paper_configs/<experiment>/, or a path to a .toml file.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="Override one setting, e.g. teacher.recipe.epochs=20. Repeatable."
    ),
]
Data = Annotated[Path | None, typer.Option(help="Data directory. Default: $REPRO_DATA, else ./data.")]
Runs = Annotated[Path, typer.Option(help="Where finished runs and checkpoints are kept.")]
Out = Annotated[
    Path | None,
    typer.Option(
        help="Where results/ and figures/ go. Default: here for an unchanged profile whose results are committed "
        f"({', '.join(sorted(set().union(*COMMITTED.values())))}), else runs/<profile>, with --set "
        "runs/<profile>-changed."
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Precision = Annotated[str, typer.Option(help="auto, fp32 or bf16 (matrix products; weights stay fp32).")]
ReportOnly = Annotated[
    bool, typer.Option("--finished-only", help="Train nothing: report on what is finished for every seed.")
]

Where = Annotated[
    str, typer.Option("--executor", help="local, or ray: independent runs on the Ray cluster that RAY_ADDRESS names.")
]


def _trains(name: str, default: str = "paper") -> Callable[[Callable[["Options"], None]], None]:
    """Make a command of a function, with the options that all training commands share."""

    def register(body: Callable[["Options"], None]) -> None:
        def command(
            profile: Profile = default,
            set_: Set = None,
            data: Data = None,
            runs: Runs = Path("runs"),
            out: Out = None,
            device: Device = "auto",
            precision: Precision = "auto",
            report_only: ReportOnly = False,
            executor: Where = "local",
        ) -> None:
            from repro.session import Options

            body(Options(profile, set_ or [], data, runs, out, device, precision, report_only, executor))

        app.command(name, help=body.__doc__)(command)

    return register


@_trains("mnist")
def _mnist(options: "Options") -> None:
    """Section 3: teacher, students, temperatures, missing classes; ends with the table."""
    from repro.mnist import examples, experiment
    from repro.mnist.runner import make_runner
    from repro.mnist.settings import MnistSettings
    from repro.session import opened

    folder = options.folder("mnist")
    with opened("mnist", options, folder, MnistSettings, make_runner(options.data)) as (settings, runner):
        from repro.report import build, records, terminal
        from repro.report.mnist import section

        experiment.run(settings, runner, lambda found: runner.progress.say(section.headline(found)))
        finished = records.complete(list(runner.finished.values()))
        digits = examples.shown_digits(settings, runner) if finished else None
        records.save(folder, "mnist", "mnist", finished, digits)
        build.report(folder)
    terminal.show(terminal.closing(folder, "mnist", "mnist"))


@_trains("mnist-choice", default="choice")
def _mnist_choice(options: "Options") -> None:
    """Train the recipes that were tried for the paper profile, and judge them on the validation split."""
    from repro.mnist import experiment
    from repro.mnist.runner import make_runner
    from repro.mnist.settings import ChoiceSettings
    from repro.session import opened

    folder = options.folder("mnist")
    with opened("mnist", options, folder, ChoiceSettings, make_runner(options.data)) as (settings, runner):
        from repro.report import build, records

        experiment.choose(settings, runner)
        records.save(folder, "mnist", "choice", list(runner.finished.values()))
        build.report(folder)
    print((folder / "results/mnist/choice/recipes.md").read_text(encoding="utf-8"))


@_trains("specialists")
def _specialists(options: "Options") -> None:
    """Sections 5 and 6.1: a generalist and specialists on confusable classes; ends with the table."""
    from repro.session import opened
    from repro.specialists import experiment
    from repro.specialists.examples import shown
    from repro.specialists.runner import make_runner
    from repro.specialists.settings import SpecialistsSettings

    folder = options.folder("specialists")
    with opened("specialists", options, folder, SpecialistsSettings, make_runner(options.data)) as (settings, runner):
        from repro.report import build, records, terminal
        from repro.report.specialists import section

        experiment.run(settings, runner, lambda found: runner.progress.say(section.headline(found)))
        finished = records.complete(list(runner.finished.values()))
        records.save(folder, "specialists", runner.data.name, finished, shown(settings, runner))
        build.report(folder)
    terminal.show(terminal.closing(folder, "specialists", runner.data.name))


@_trains("speech")
def _speech(options: "Options") -> None:
    """Sections 4 and 6: ten acoustic models into one, soft targets on few data; ends with the table."""
    from repro.session import opened
    from repro.speech import experiment
    from repro.speech.examples import shown
    from repro.speech.runner import make_runner
    from repro.speech.settings import SpeechSettings

    folder = options.folder("speech")
    with opened("speech", options, folder, SpeechSettings, make_runner(options.data)) as (settings, runner):
        from repro.report import build, records, terminal
        from repro.report.speech import section

        experiment.run(settings, runner, lambda found: runner.progress.say(section.headline(found)))
        finished = records.complete(list(runner.finished.values()))
        records.save(folder, "speech", runner.data.name, finished, shown(runner.corpus, runner.data))
        build.report(folder)
    terminal.show(terminal.closing(folder, "speech", runner.data.name))


# Profiles that stand for one of each test bench.
BENCHES = {
    "paper": ("mnist", "icons"),
    "quick": ("quick_mnist", "quick_icons"),
    "smoke": ("smoke_mnist", "smoke_icons"),
}


@_trains("variants")
def _variants(options: "Options") -> None:
    """What became of the idea, on equal terms; paper: the profiles mnist and icons, one after the other."""
    from dataclasses import replace

    from repro.session import opened
    from repro.variants import experiment
    from repro.variants.runner import make_runner
    from repro.variants.settings import VariantsSettings

    for profile in BENCHES.get(options.profile, (options.profile,)):
        own = replace(options, profile=profile)
        folder = own.folder("variants")
        with opened("variants", own, folder, VariantsSettings, make_runner(own.data)) as (settings, runner):
            from repro.report import build, records, terminal
            from repro.report.variants import section

            headline = lambda found, say=runner.progress.say: say(section.headline(found))  # noqa: E731
            experiment.run(settings, runner, headline)
            finished = records.complete(list(runner.finished.values()))
            records.save(folder, "variants", runner.data.name, finished)
            build.report(folder)
        terminal.show(section.headline(finished))
        terminal.show(terminal.closing(folder, "variants", runner.data.name))


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
    from repro.data.download import data_folder
    from repro.session import commit
    from repro.training import compute

    print(
        measure(data_folder(data), out / "results" / "bench.json", compute.choose(device, precision), repeats, commit())
    )


@app.command()
def data(data: Data = None) -> None:
    """Fetch and check the data sets."""
    from repro.data import mnist as source
    from repro.data.download import data_folder

    folder = data_folder(data)
    source.load(folder)
    print(f"MNIST is in {folder / 'MNIST' / 'raw'}, as published")


@app.command()
def icons_build(
    tarball: Annotated[Path | None, typer.Option(help="The npm package as a file. Default: fetched with npm.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where the files go. Default: into this package.")] = None,
) -> None:
    """Make the embedded data set icons anew from the open icon sets it is drawn from."""
    from repro.data import icons
    from repro.data.icons import build

    print(build.build(tarball, out or icons.FOLDER))


@app.command(name="config")
def _config(
    experiment: Annotated[str, typer.Argument(help="mnist, mnist-choice, specialists, speech or variants.")],
    profile: Annotated[
        str | None, typer.Option(help="Show the values of this profile; 'list': show the profiles.")
    ] = None,
) -> None:
    """List every setting of an experiment with its type, range, default and meaning, or the profiles."""
    import shutil

    from repro import config_help

    width = min(shutil.get_terminal_size((100, 24)).columns, 120)
    print(config_help.text(experiment, profile, width), end="")


@app.callback(invoke_without_command=True)
def _start(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    if version:
        print(__version__)
    elif context.invoked_subcommand is None:
        print(context.get_help())


def main() -> None:
    """Run the command line: 0 done, 2 something of the user's is wrong, 130 interrupted."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what schedulers send ends a command as Ctrl-C does
    try:
        code = app(standalone_mode=False) or 0  # typer answers Ctrl-C with 130
        sys.stdout.flush()  # or a full disk there would be told after the end
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except UserError as error:
        code = _tell(str(error))
    except OSError as error:
        code = _tell(f"{error.filename or 'standard output or a temporary file'}: {error.strerror or error}")
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        code = _tell(error.format_message())  # a wrong option or command, found by typer
    if code == 130:
        print("interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
    sys.exit(code)


def _tell(message: str) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
