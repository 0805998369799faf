"""Registry of the experiments: for each training command its profiles and the code that carries it out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro.config import Settings

# PyTorch and the report modules take seconds to load: only ``load_components`` imports them.
if TYPE_CHECKING:
    from rich.console import RenderableType

    from repro.engine.runner import Runner
    from repro.report.records import Record


@dataclass(frozen=True)
class Experiment:
    """A command that trains.

    Attributes:
        name: experiment whose profiles, runs and results the command uses.
        summary: help text of the command.
        dataset: name of the data set in results. Default: the name of the loaded data.
        default_profile: profile without ``--profile``.
        adds_seeds: whether ``--first-seed`` can add seeds to its records. Default: no.
    """

    name: str
    summary: str
    dataset: str | None = None
    default_profile: str = "paper"
    adds_seeds: bool = False


@dataclass(frozen=True)
class Components:
    """Functions and classes of an experiment that a training command connects.

    Attributes:
        settings: class of the settings.
        make_runner: maps a data directory to a function that makes a runner from settings.
        run: trains everything; gets settings, runner and a function that displays the headline of records.
        headline: returns the headline table of records for the terminal.
        examples: returns the examples that figures show, from settings and runner; None for no examples.
    """

    settings: type[Settings]
    make_runner: Callable[[Path | None], Callable[..., "Runner"]]
    run: Callable[[Any, Any, Callable[[list["Record"]], None]], None]
    headline: Callable[[list["Record"]], "RenderableType"]
    examples: Callable[[Any, Any], dict[str, Any] | None] = lambda settings, runner: None


EXPERIMENTS: dict[str, Experiment] = {
    "mnist": Experiment(
        "mnist",
        "Run section 3: teacher, students, temperatures, missing classes; print the table at the end.",
        dataset="mnist",
    ),
    "mnist-choice": Experiment(
        "mnist",
        "Run the recipe search behind the MNIST profile paper, evaluated on the validation split.",
        dataset="choice",
        default_profile="choice",
    ),
    "specialists": Experiment(
        "specialists",
        "Run sections 5, 6.1 and 8: a generalist and specialists on confusable classes; print the table at the end.",
        adds_seeds=True,
    ),
    "speech": Experiment(
        "speech",
        "Run sections 4 and 6: an ensemble of acoustic models distilled into one, soft targets on a fraction of the "
        "data; print the table at the end.",
    ),
    "variants": Experiment(
        "variants",
        "Run later distillation methods under one protocol; paper: the profiles mnist and icons in turn.",
    ),
}


def load_components(command: str) -> Components:
    """Import the components of a command in ``EXPERIMENTS``.

    Raises:
        KeyError: there is no such command.
    """
    match command:
        case "mnist":
            from repro.mnist import examples, experiment, runner
            from repro.mnist.settings import MnistSettings
            from repro.report.mnist import section

            return Components(
                MnistSettings, runner.make_runner, experiment.run, section.headline, examples.shown_digits
            )
        case "mnist-choice":
            from repro.mnist import experiment, runner
            from repro.mnist.settings import ChoiceSettings
            from repro.report import terminal
            from repro.report.mnist import recipes

            title, make_table = recipes.TABLE
            return Components(
                ChoiceSettings,
                runner.make_runner,
                experiment.choose,
                lambda records: terminal.table(title, make_table(records)),
            )
        case "specialists":
            from repro.report.specialists import section as specialists_section
            from repro.specialists import examples as specialists_examples
            from repro.specialists import experiment as specialists
            from repro.specialists.runner import make_runner as make_specialists_runner
            from repro.specialists.settings import SpecialistsSettings

            return Components(
                SpecialistsSettings,
                make_specialists_runner,
                specialists.run,
                specialists_section.headline,
                specialists_examples.shown,
            )
        case "speech":
            from repro.report.speech import section as speech_section
            from repro.speech import examples as speech_examples
            from repro.speech import experiment as speech
            from repro.speech.runner import make_runner as make_speech_runner
            from repro.speech.settings import SpeechSettings

            return Components(
                SpeechSettings,
                make_speech_runner,
                speech.run,
                speech_section.headline,
                lambda settings, runner: speech_examples.shown(runner.corpus, runner.data),
            )
        case "variants":
            from repro.report.variants import section as variants_section
            from repro.variants import experiment as variants
            from repro.variants.runner import make_runner as make_variants_runner
            from repro.variants.settings import VariantsSettings

            return Components(
                VariantsSettings,
                make_variants_runner,
                variants.run,
                variants_section.headline,
                lambda settings, runner: runner.data.files_by_reason() or None,
            )
    raise KeyError(command)
