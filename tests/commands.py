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
    "mnist": ("smoke", "train_cases=600", "temperatures.temperatures=[1.0,20.0]",
              "temperatures.extra_temperatures=[]"),
    "specialists": ("smoke", *PETS, "specialists.count=2", "specialists.size=3", "specialists.recipe.batch_size=8",
                    "generalist.recipe.batch_size=16", "studies.count=1", "studies.counts=[1]", "studies.sizes=[]",
                    "studies.widths=[]", "studies.methods=['random']"),
    "variants": ("smoke_icons", *PETS, "teacher.recipe.batch_size=16", "student.recipe.batch_size=16", METHODS, "capacity_gap.teachers=[]",
                 "capacity_gap.students=[]", "capacity_gap.early_stopped_fractions=[]", "teacher_views.epochs=[]",
                 "sequential.assistants=[]", "temperature_sweep.temperatures=[]"),
    "speech": ("smoke", "data.synth.train_hours=0.006", "data.synth.test_hours=0.003", "data.synth.train_speakers=3",
               "data.synth.test_speakers=2", "hidden=[8]", "ensemble=2", "studies.sizes=[]", "studies.widths=[]",
               "studies.teachers=0", "distilled.temperatures=[2.0]", "words.utterances=1",
               "words.validation_utterances=1",
               "subsets.parts=[{share=0.5,seeds=2,recipe={epochs=2,batch_size=64,learning_rate=0.003}}]"),
}  # fmt: skip


def words(experiment: str, runs: str, here: Path) -> list[str]:
    profile, *changes = COMMANDS[experiment]
    data = ["--data", str(here / "data")] if experiment == "speech" else []
    changed = [word for change in changes for word in ("--set", change)]
    return [experiment, "--profile", profile, "--runs", runs, "--out", f"{runs}-out", *data, *changed]
