"""Commands of the command line. The process around them, with exit codes and signals, is in ``repro.__main__``."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from repro import __version__, config_help, interrupts
from repro.names import text_of
from repro.registry import EXPERIMENTS, Experiment
from repro.training_command import run_experiment

# PyTorch and the report modules take seconds to load, so commands import them when they need them.
app = typer.Typer(
    help="Reproduce Hinton, Vinyals & Dean 2015, 'Distilling the Knowledge in a Neural Network'.",
    pretty_exceptions_enable=False,
    add_completion=False,
)

ProfileOption = Annotated[
    str,
    typer.Option(
        "--profile", help="A name in paper_configs/<experiment>/, a path to a .toml file, or 'list': list the profiles."
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Override one setting; 'repro config' lists all of them. Repeatable.",
    ),
]
DataOption = Annotated[Path | None, typer.Option("--data", help="Data directory. Default: $REPRO_DATA, else ./data.")]
RunsOption = Annotated[Path, typer.Option("--runs", help="Directory of finished runs and checkpoints.")]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="Parent directory of results/ and figures/. Default: the working directory for an unchanged profile whose "
        "results are committed ('--profile list' says which), else runs/<profile>, or runs/<profile>-changed with "
        "--set, --device or --precision, and for a committed one with --report-only.",
    ),
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
PrecisionOption = Annotated[
    str, typer.Option("--precision", help="auto, fp32 or bf16 (matrix products; weights stay fp32).")
]
ReportOnlyOption = Annotated[
    bool, typer.Option("--report-only", help="Skip training; report runs that are complete for all seeds.")
]
FinishedOnlyOption = Annotated[bool, typer.Option("--finished-only", hidden=True, help="Former name of --report-only.")]
ExecutorOption = Annotated[
    str, typer.Option("--executor", help="local, or ray: independent runs on the Ray cluster that RAY_ADDRESS names.")
]

FirstSeedOption = Annotated[
    int,
    typer.Option(
        "--first-seed",
        min=0,
        help="Train the seeds from this one on and add them to the records of earlier seeds in --out (specialists).",
    ),
]
ReuseRecordsOption = Annotated[
    bool,
    typer.Option(
        "--reuse-records",
        help="Count runs as finished that --out has records of, from the same settings, data and code; weights that "
        "other runs need are trained again.",
    ),
]
LogOption = Annotated[
    str, typer.Option("--log", help="none, or tensorboard: training curves in <runs>/tensorboard while networks train.")
]


def _add_command(name: str, experiment: Experiment) -> None:
    """Register a training command; all of them have the same options."""

    @app.command(name, help=experiment.summary)
    def command(
        profile: ProfileOption = experiment.default_profile,
        overrides: SetOption = None,
        data: DataOption = None,
        runs: RunsOption = Path("runs"),
        out: OutOption = None,
        device: DeviceOption = "auto",
        precision: PrecisionOption = "auto",
        report_only: ReportOnlyOption = False,
        finished_only: FinishedOnlyOption = False,
        executor: ExecutorOption = "local",
        log: LogOption = "none",
        first_seed: FirstSeedOption = 0,
        reuse_records: ReuseRecordsOption = False,
    ) -> None:
        if profile == config_help.LIST:
            _print_config(name, profile)
            return
        from repro.errors import UserError
        from repro.session import Options

        if first_seed and not experiment.adds_seeds:
            raise UserError(f"--first-seed: {name} cannot add seeds to its records; specialists can")
        skip_training = report_only or finished_only
        run_experiment(
            name,
            Options(
                profile,
                overrides or [],
                data,
                runs,
                out,
                device,
                precision,
                report_only=skip_training,
                executor=executor,
                log=log,
                first_seed=first_seed,
                reuse_records=reuse_records,
            ),
        )


for _name, _experiment in EXPERIMENTS.items():
    _add_command(_name, _experiment)


@app.command()
def report(
    out: Annotated[Path, typer.Option(help="Parent directory of results/ and figures/.")] = Path(),
) -> None:
    """Regenerate every table, figure and verdict from results/*/*/records.jsonl, without training."""
    from repro.report import build

    interrupts.raise_exceptions()
    build.report(out)
    print(text_of(f"regenerated {out / 'results'}, {out / 'figures'}, {out / 'REPRODUCE.md'}"))


@app.command()
def verify(
    experiment: Annotated[
        str, typer.Argument(help=f"One of {', '.join(EXPERIMENTS)}. Default: all of them.", show_default=False)
    ] = "",
    minutes: Annotated[float, typer.Option(min=0, help="Time to train, by the times in the records.")] = 10.0,
    records: Annotated[Path, typer.Option(help="Parent directory of the results/ that are verified.")] = Path(),
    data: DataOption = None,
    runs: RunsOption = Path("runs/verify"),
    out: Annotated[Path | None, typer.Option(help="CSV file of all metrics. Default: none.")] = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
) -> None:
    """Retrain a few committed runs and compare every metric; exit code 1 if one is not reproduced."""
    from repro.session import Options
    from repro.verify import verify

    interrupts.raise_exceptions()
    options = Options("", [], data, runs, out, device, precision, report_only=False)
    raise typer.Exit(0 if verify(records, experiment, minutes, options) else 1)


@app.command()
def export(
    experiment: Annotated[str, typer.Argument(help="mnist, speech, specialists or variants.")],
    arm: Annotated[str, typer.Argument(help="Arm of the network, as in records: teacher, distilled, ...")],
    seed: Annotated[int, typer.Option(help="Seed of the network.")] = 0,
    param: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Setting that tells networks of an arm apart. Repeatable."),
    ] = None,
    runs: RunsOption = Path("runs"),
    out: Annotated[Path, typer.Option(help="Directory to write to.")] = Path("exported"),
    side: Annotated[
        int, typer.Option(min=1, help="Side in pixels of the images that a convolutional network was trained on.")
    ] = 32,
) -> None:
    """Write a trained network as safetensors, plain PyTorch and, where onnx is installed, ONNX."""
    from repro import export as exporter
    from repro.errors import UserError

    interrupts.raise_exceptions()
    known = sorted({entry.name for entry in EXPERIMENTS.values()})
    if experiment not in known:
        raise UserError(f"{text_of(experiment)}: must be one of {', '.join(known)}")
    if wrong := [text for text in param or [] if "=" not in text]:
        raise UserError(f"--param {text_of(wrong[0])}: must be NAME=VALUE")
    pairs = dict(text.split("=", 1) for text in param or [])
    for path in exporter.export(experiment, arm, seed, pairs, runs, out, side):
        print(text_of(f"wrote {path}"))


@app.command()
def bench(
    data: DataOption = None,
    out: Annotated[Path, typer.Option(help="Parent directory of results/.")] = Path(),
    repeats: Annotated[int, typer.Option(min=1, help="Timings of each side of a ratio.")] = 5,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
) -> None:
    """Measure the speed ratios of results/bench*.json; the two sides of a ratio alternate in this process."""
    from functools import partial

    from repro.bench.measure import measure
    from repro.data.download import data_folder
    from repro.report import speed
    from repro.session import commit
    from repro.training import compute

    interrupts.raise_exceptions()
    chosen = compute.choose(device, precision)
    path = speed.path(out, speed.kind_of(compute.machine(chosen)))
    measure(data_folder(data), path, chosen, repeats, commit(), partial(print, flush=True))


@app.command()
def data(data: DataOption = None) -> None:
    """Download MNIST, unless it is there, and check it."""
    from repro.data import mnist
    from repro.data.download import data_folder

    interrupts.raise_exceptions()
    folder = data_folder(data)
    mnist.load(folder)
    print(text_of(f"MNIST is in {folder / 'MNIST' / 'raw'}, as published"))


@app.command()
def doctor(
    data: DataOption = None,
    runs: RunsOption = Path("runs"),
    out: Annotated[Path, typer.Option(help="Parent directory of results/ and figures/.")] = Path(),
) -> None:
    """Check this machine, its packages and these folders, as text for a bug report; changes nothing."""
    from repro import doctor

    raise typer.Exit(doctor.report(doctor.checks(data, runs, out), lambda line: print(text_of(line), flush=True)))


@app.command()
def icons_build(
    tarball: Annotated[Path | None, typer.Option(help="The npm package as a file. Default: fetched with npm.")] = None,
    out: Annotated[Path | None, typer.Option(help="Directory of the files. Default: inside this package.")] = None,
) -> None:
    """Rebuild the embedded icons from the open icon sets."""
    from repro.data import icons
    from repro.data.icons import build

    interrupts.raise_exceptions()
    print(build.build(tarball, out or icons.FOLDER))


@app.command()
def letters_build(
    packages: Annotated[
        Path | None,
        typer.Option(
            help="Directory of the npm packages as files; missing ones are fetched into it. Default: fetch all."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Directory of the files. Default: inside this package.")] = None,
) -> None:
    """Rebuild the embedded letters from the open fonts."""
    from repro.data import letters
    from repro.data.letters import build

    interrupts.raise_exceptions()
    print(build.build(packages, out or letters.FOLDER))


@app.command()
def config(
    experiment: Annotated[str, typer.Argument(help=f"One of {', '.join(EXPERIMENTS)}.", show_default=False)] = "",
    profile: Annotated[
        str | None, typer.Option(help="Show the values of this profile; 'list': list the profiles.")
    ] = None,
) -> None:
    """List every setting of an experiment with its type, range, default and meaning, or its profiles."""
    _print_config(experiment, profile)


def _print_config(experiment: str, profile: str | None) -> None:
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
