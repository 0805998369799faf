"""Command lines that tests run: the smoke profiles, made smaller still."""

from pathlib import Path

PETS = ("data.source=folder", "data.folder=pets")
GRID = "[{temperature=4.0,hard_label_weight=0.1},{temperature=2.0,hard_label_weight=0.1}]"
HINTS = "[{pairs=[['stages.1','stages.1']],stage1_fraction=0.2},{pairs=[['stages.1','stages.1']],stage1_fraction=0.4}]"
METHODS = (
    "methods=[{name='none',method='none'},"
    f"{{name='KD',method='kd',grid={GRID}}},"
    f"{{name='hints',method='fitnets',grid={HINTS}}}]"
)
COMMANDS = {
    "mnist": ("smoke", "max_train_examples=600", "temperature_sweep.temperatures=[1.0,20.0]",
              "temperature_sweep.widest_only_temperatures=[]"),
    "specialists": ("smoke", *PETS, "specialists.count=2", "specialists.classes_per_specialist=3",
                    "specialists.recipe.batch_size=8", "generalist.recipe.batch_size=16", "ablations.num_specialists=1",
                    "ablations.specialist_counts=[1]", "ablations.subset_sizes=[]", "ablations.generalist_widths=[]",
                    "ablations.clusterings=['random']"),
    "variants": ("smoke_icons", *PETS, "teacher.recipe.batch_size=16", "student.recipe.batch_size=16", METHODS,
                 "capacity_gap.teachers=[]",
                 "capacity_gap.students=[]", "capacity_gap.early_stopped_fractions=[]", "teacher_views.epochs=[]",
                 "sequential.assistants=[]", "temperature_sweep.temperatures=[]"),
    "speech": ("smoke", "data.synth.train_hours=0.006", "data.synth.test_hours=0.003", "data.synth.train_speakers=3",
               "data.synth.test_speakers=2", "hidden_units=[8]", "ensemble_size=2", "ablations.ensemble_sizes=[]",
               "ablations.width_fractions=[]",
               "ablations.transcribed_ensemble_size=0", "distilled.temperatures=[2.0]", "decoding.utterances=1",
               "decoding.validation_utterances=1",
               "data_fractions=[{fraction=0.5,seeds=2,recipe={epochs=2,batch_size=64,learning_rate=0.003}}]"),
}  # fmt: skip


def words(experiment: str, runs: str, here: Path) -> list[str]:
    profile, *changes = COMMANDS[experiment]
    data = ["--data", str(here / "data")] if experiment == "speech" else []
    changed = [word for change in changes for word in ("--set", change)]
    return [experiment, "--profile", profile, "--runs", runs, "--out", f"{runs}-out", *data, *changed]
