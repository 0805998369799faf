"""A training command from its options to its report, one profile after the other."""

from dataclasses import replace
from typing import TYPE_CHECKING

from repro import config, interrupts
from repro.config_search import RESULTS_SUFFIX, ends_after_search
from repro.errors import UserError
from repro.registry import EXPERIMENTS, Components, Experiment, load_components

# PyTorch and the report modules take seconds to load: functions import them.
if TYPE_CHECKING:
    from repro.session import Options


def run_experiment(command: str, options: "Options") -> None:
    """Train and report an experiment, one profile after the other where the profile is a group of profiles.

    Raises:
        UserError: a setting of any of the profiles is wrong; nothing is trained.
    """
    experiment = EXPERIMENTS[command]
    components = load_components(command)
    profiles = config.GROUPS.get(experiment.name, {}).get(options.profile, (options.profile,))
    for profile in profiles:
        path = config.profile_path(experiment.name, profile)
        config.load(components.settings, path, options.overrides, experiment.name)
    for profile in profiles:
        _run_profile(experiment, components, replace(options, profile=profile))


def _run_profile(experiment: Experiment, components: Components, options: "Options") -> None:
    from repro.report import added_seeds, build, records, terminal
    from repro.session import training_session

    interrupts.raise_exceptions()
    folder = options.folder(experiment.name)
    make_runner = components.make_runner(options.data)
    with training_session(experiment.name, options, folder, components.settings, make_runner) as (settings, runner):
        search_only = ends_after_search(settings)
        suffix = getattr(settings, "results_suffix", "") + (RESULTS_SUFFIX if search_only else "")
        dataset = (experiment.dataset or runner.data.name) + suffix
        build.check(folder, experiment.name, dataset)
        runner.earlier = earlier = added_seeds.earlier(folder, experiment.name, dataset, options.first_seed)
        reused = added_seeds.reusable(folder, experiment.name, dataset) if options.reuse_records else []
        runner.store.adopt(reused)
        examples = records.load_shown(folder, experiment.name, dataset) if earlier or reused else None
        components.run(
            settings,
            runner,
            lambda so_far: runner.progress.say(components.headline(added_seeds.joined(earlier, so_far))),
        )
        complete = records.complete(added_seeds.joined(earlier, list(runner.finished.values())))
        added_seeds.check(earlier, complete)
        lost = added_seeds.lost(reused, complete)
        if lost and options.report_only:
            arms = ", ".join(sorted({record["arm"] for record in lost}))
            raise UserError(
                f"--reuse-records --report-only: {len(lost)} of {len(reused)} records would be lost ({arms}), so they "
                "stay as they are. Settings, data and code must match those of the records; train the runs they depend "
                "on first"
            )
        if reused:
            runner.progress.say(f"records reused: {len(reused) - len(lost)} of {len(reused)}")
        # Examples are kept with the networks that they are of.
        keeps_examples = bool(earlier) or (
            bool(reused) and (options.report_only or (examples is not None and not lost))
        )
        if complete and not keeps_examples and not search_only:
            examples = components.examples(settings, runner)
        records.save(folder, experiment.name, dataset, complete, examples)
        build.report(folder)
    terminal.show(components.headline(complete))
    terminal.show(terminal.closing(folder, experiment.name, dataset))
