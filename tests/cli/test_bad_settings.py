"""Malformed settings of every experiment: one line that names the setting and what it may be, exit code 2."""

import importlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repro import config, config_help
from repro.config import Settings
from repro.errors import UserError

SMOKE = {"mnist": "smoke", "specialists": "smoke", "speech": "smoke", "variants": "smoke_icons"}
METHOD = "methods=[{{name='x',method='kd',grid=[{{{}}}]}}]"


def model_of(experiment: str) -> type[Settings]:
    """Return the settings class of an experiment."""
    module, name, _ = config_help.MODELS[experiment]
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("experiment", SMOKE)
def test_every_setting_refuses_a_date_and_a_huge_negative_number(experiment):
    model, path = model_of(experiment), config.profile_path(experiment, SMOKE[experiment])
    for setting in config_help.settings_of(model, [config.load(model, path)]):
        if "[]" in setting.key or not setting.values:
            continue
        wrong = ["1979-05-27"] + ["-10000000"] * setting.kind.startswith(("integer", "number"))
        for value in wrong:
            with pytest.raises(UserError) as error:
                config.load(model, path, [f"{setting.key}={value}"])
            assert setting.key in str(error.value) and "\n" not in str(error.value)


# Changes by experiment, with a part of the message.
MALFORMED = {
    "mnist": {
        # the option itself
        "seeds": "must look like NAME=VALUE",
        "=": "must look like NAME=VALUE",
        ".seeds=3": "must look like NAME=VALUE",
        "teacher..recipe=1": "must look like NAME=VALUE",
        "x" * 6000: "xxx...: must look like NAME=VALUE",
        "seeds.more=3": "seeds is a single setting",
        "extends='quick'": "only a profile can extend another",
        # names
        "sedes=3": "setting sedes: there is no such setting; did you mean seeds?",
        "teacher.recipe.epoch=3": "setting teacher.recipe.epoch: there is no such setting; did you mean epochs?",
        "a.b.c.d=1": "setting a: there is no such setting; it must be one of: ablation_seeds",
        "tëacher.hidden=[1]": "setting tëacher: there is no such setting; did you mean teacher?",
        "ключ=1": "setting ключ: there is no such setting",
        "x" * 6000 + "=1": "xxx...: there is no such setting",
        "temperature_sweep.widths=[{hidden_units=3,recipe={epochs=1,batch_size=1,learning_rate=1,eposh=2}}]":
            "setting temperature_sweep.widths.0.recipe.eposh: there is no such setting; did you mean epochs?",
        # types
        "seeds=true": "setting seeds: must be a number, not True",
        "seeds='2'": "setting seeds: must be a number, not '2'",
        "seeds=2.0": "setting seeds: must be a whole number, not 2.0",
        "seeds=": "setting seeds: must be a number, not ''",
        "seeds=1\nnum_evals=2": r"setting seeds: must be a number, not '1\nnum_evals=2'",
        "seeds=[1, 2]": "setting seeds: must be a valid integer, not [1, 2]",
        "seeds={a=1}": "setting seeds: must be a valid integer, not a table",
        "seeds=" + "[" * 5000: "[...: not valid TOML (",
        "seeds=" + "9" * 5000: "setting seeds: must be a number, not '999",
        "batch_seeds=1": "setting batch_seeds: must be true or false, not 1",
        "batch_seeds='yes'": "setting batch_seeds: must be true or false, not 'yes'",
        "teacher=3": "setting teacher: must be a section or a table",
        "teacher=[{hidden=[1]}]": "setting teacher: must be a section or a table",
        "teacher.hidden=800": "setting teacher.hidden: must be a list, such as [1, 2], not 800",
        "teacher.hidden=[true]": "setting teacher.hidden: must be a number, not [True]",
        "teacher.hidden=[[1]]": "setting teacher.hidden.0: must be a valid integer, not [1]",
        "temperature_sweep.widths={hidden_units=3}":
            "setting temperature_sweep.widths: must be a list of tables, such as [{ name = value }], not a table",
        "temperature_sweep.widths=[3]": "setting temperature_sweep.widths.0: must be a section or a table",
        "teacher.recipe.optimizer='adam'": "setting teacher.recipe.optimizer: must be 'adamw' or 'sgd', not 'adam'",
        # ranges
        "seeds=-1": "setting seeds: must be greater than or equal to 1, not -1",
        "seeds=" + "1" * 300: "setting seeds: must be less than or equal to 100, not 111",
        "teacher.hidden=[]": "setting teacher.hidden: must have at least 1 item, not []",
        "teacher.hidden=[0]": "setting teacher.hidden: every hidden layer must have 1 to 20000 units, not [0]",
        "teacher.hidden=[8,8,8,8,8,8,8,8,8]": "setting teacher.hidden: must have at most 8 items",
        "teacher.recipe.learning_rate=nan": "setting teacher.recipe.learning_rate: must be a number, not nan",
        "teacher.recipe.learning_rate=inf": "setting teacher.recipe.learning_rate: must be a finite number, not inf",
        "teacher.recipe.epochs=1e400": "setting teacher.recipe.epochs: must be less than or equal to 10000, not inf",
        "distilled.temperature=0": "setting distilled.temperature: must be greater than 0, not 0",
        "distilled.temperature=-inf": "setting distilled.temperature: must be greater than 0, not -inf",
        "data_fractions.fractions=[{fraction=0.5,epochs=1},{fraction=0.5,epochs=1}]": "no two fractions may be",
    },
    "mnist-choice": {
        "candidates=3": "setting candidates: must be a list of tables",
        "candidates=[]": "setting candidates: must have at least 1 item",
        "candidates=[{}]": "setting candidates.0.name: is missing",
        "candidates=[{name='a',kind='wizard',model={}}]": "candidates.a.kind: must be 'teacher', 'baseline' or",
        "teacher.hidden=[3]": "setting teacher: there is no such setting; it must be one of: batch_seeds, candidates",
    },
    "specialists": {
        "data=icons": "setting data: must be a section or a table",
        "data.source=true": "must be 'icons', 'letters', 'cifar100', 'mnist' or 'folder', not True",
        "data.source='imagenet'": "setting data.source: must be 'icons', 'letters', 'cifar100', 'mnist' or 'folder'",
        "data.source='folder'": "data.folder must be given when data.source is folder",
        "data.folder=": "setting data.folder: must name a folder",
        "data.folder=2024": "setting data.folder: must be a path in quotes, not 2024",
        "data.horizontal_flip=1": "setting data.horizontal_flip: must be true or false, not 1",
        "generalist.recipe.hidden_dropout=0.5": "hidden_dropout",
        "generalist.width=8": "setting generalist.width: is now called generalist.channels",
        "specialists.count=0": "setting specialists.count: must be greater than or equal to 1, not 0",
        "ablations.specialist_counts=3": "setting ablations.specialist_counts: must be a list, such as [1, 2], not 3",
        "ablations.clusterings=['magic']": "setting ablations.clusterings.0: must be 'k-means', 'spectral' or 'random'",
        "extra_generalists=-1": "setting extra_generalists: must be greater than or equal to 0, not -1",
    },
    "speech": {
        "hidden_units=8": "setting hidden_units: must be a list, such as [1, 2], not 8",
        "hidden_units=[]": "setting hidden_units: must have at least 1 item, not []",
        "ensemble_size=1e3": "setting ensemble_size: must be a whole number, not 1000.0",
        "data.corpus=3": "setting data.corpus: must be text in quotes, not 3",
        "data.corpus='timit'": "setting data.corpus: must be synth, librispeech, or kaldi:PATH, not 'timit'",
        "data.corpus='kaldi:'": "kaldi:PATH",
        "data.synth=3": "setting data.synth: must be a section or a table",
        "data.synth.snr=[30, 10]": "snr must be the lower bound, then the upper one",
        "data.synth.train_hours=nan": "setting data.synth.train_hours: must be a number, not nan",
        "data.synth.train_hours=0": "setting data.synth.train_hours: must be greater than 0",
        "data_fractions={fraction=0.1}": "setting data_fractions: must be a list of tables",
        "data_fractions=[{fraction=0.1}]": "setting data_fractions.0.seeds: is missing",
        "recipe.max_translation=2": "max_translation",
        "decoding.utterances=-1": "setting decoding.utterances: must be greater than or equal to 1, not -1",
    },
    "variants": {
        "methods=3": "setting methods: must be a list of tables",
        "methods=[]": "setting methods: must have at least 1 item",
        "methods=[{name='a',method='nosuch'}]": "setting methods.a: method: must be one of adversarial, attention",
        "methods=[{name='a',method='../kd'}]": "setting methods.a: method: must be one of adversarial, attention",
        METHOD.format("temperature=0"): "setting methods.x: grid: setting temperature: must be greater than 0, not 0",
        METHOD.format("temp=1"): "setting temp: there is no such setting; it must be one of: hard_label_weight, temp",
        "student.shape={kind=conv,name=resnet8x4}": "not valid TOML (Invalid value (at line 1, column 15)); text in",
        "student.shape='transformer:3'": "setting student.shape: must be a shape such as",
        "student.shape='conv:0'": "setting student.shape.width: must be greater than or equal to 1, not 0",
        "timing_steps=0": "setting timing_steps: must be greater than or equal to 1, not 0",
    },
}  # fmt: skip


@pytest.mark.parametrize(("experiment", "change"), [(name, change) for name in MALFORMED for change in MALFORMED[name]],
                         ids=lambda text: text[:60])  # fmt: skip
def test_a_malformed_setting_is_named(error_of, experiment, change):
    profile = [] if experiment == "mnist-choice" else ["--profile", "smoke"]
    line = error_of(experiment, *profile, "--set", change)
    assert MALFORMED[experiment][change] in line and len(line) < 500


def test_the_last_of_two_contradictory_changes_counts(error_of):
    assert "not -5" in error_of("mnist", "--profile", "smoke", "--set", "seeds=2", "--set", "seeds=-5")
    assert "not -6" in error_of("mnist", "--profile", "smoke", "--set", "seeds=-5", "--set", "seeds=-6")
    model, path = model_of("mnist"), config.profile_path("mnist", "smoke")
    assert config.load(model, path, ["seeds=-5", "seeds=2"]).seeds == 2
    changes = ("--set", "teacher=1", "--set", "teacher.hidden=[3]")
    assert "teacher is a single setting" in error_of("mnist", "--profile", "smoke", *changes)


@pytest.mark.parametrize(
    ("experiment", "change", "message"),
    [
        ("mnist", "temperature_sweep.temperatures=[1, 0]", "temperature_sweep.temperatures"),
        ("mnist", "temperature_sweep.temperatures=[4, 4]", "no two temperatures"),
        ("mnist", "temperature_sweep.temperatures=[1, 1e5]", "above 0 and at most 1000, or inf"),
        ("mnist", "temperature_sweep.temperatures=[1, 2, -inf]", "above 0 and at most 1000, or inf"),
        ("mnist", "distilled.temperature=2000", "above 0 and at most 1000, or inf"),
        ("mnist", "without_3.transfer_classes=[11]", "must be digits 0 to 9"),
        ("mnist", "without_3.bias_shift.min=9", "without_3.bias_shift.min"),
        ("mnist", "data_fractions.fractions=[{ fraction = 2.0, epochs = 1 }]", "data_fractions.fractions.0.fraction"),
        ("mnist", "no3.kept=[3]", "no3"),
        ("specialists", "specialists.classes_per_specialist=1", "specialists.classes_per_specialist"),
        ("specialists", "specialists.clustering='meanshift'", "k-means"),
        ("specialists", "specialists.special_fraction=0.999", "special_fraction must"),
        ("specialists", "ablations.num_specialists=100000", "ablations.num_specialists"),
        ("specialists", "ablations.generalist_widths=[100000]", "ablations.generalist_widths"),
        ("specialists", "specialists.size=20", "is now called specialists.classes_per_specialist"),
        ("speech", "ensemble_size=1", "ensemble_size"),
        ("speech", "data.validation_speaker_fraction=1", "data.validation_speaker_fraction"),
        ("speech", "decoding.acoustic_scales=[]", "decoding.acoustic_scales"),
        ("speech", "ablations.ensemble_sizes=[100]", "ablations.ensemble_sizes must be at most ensemble_size"),
        ("speech", "ensemble=3", "is now called ensemble_size"),
        ("variants", "ablation_seeds=0", "ablation_seeds"),
        ("variants", "temperature_sweep.temperatures=[0]", "temperature_sweep.temperatures"),
        ("variants", "capacity_gap.early_stopped_fractions=[2]", "capacity_gap.early_stopped_fractions"),
        ("variants", "sequential.assistants=[[]]", "sequential.assistants"),
        ("variants", "sequential.assistants=[[{kind='conv',width=8}],[{kind='conv',width=8}]]", "same"),
        ("variants", "study_seeds=3", "is now called ablation_seeds"),
    ],
)
def test_a_rule_of_an_experiment_is_named(experiment, change, message):
    with pytest.raises(UserError) as error:
        config.load(model_of(experiment), config.profile_path(experiment, SMOKE[experiment]), [change])
    assert message in str(error.value) and "\n" not in str(error.value)


@settings(max_examples=300, deadline=None)
@given(
    experiment=st.sampled_from(sorted(SMOKE)),
    name=st.one_of(
        st.text(max_size=30),
        st.sampled_from(["seeds", "data", "recipe.epochs", "hidden", "methods", "words", "teacher.recipe"]),
    ),
    value=st.one_of(
        st.text(max_size=60), st.integers().map(str), st.floats().map(str),
        st.recursive(st.sampled_from(["1", "'x'", "true", "1979-05-27"]), lambda inner: st.lists(inner, max_size=3).map(
            lambda parts: f"[{', '.join(parts)}]") | inner.map(lambda value: f"{{ a = {value} }}")),
    ),
)  # fmt: skip
def test_any_override_is_read_or_refused_in_one_line(experiment, name, value):
    try:
        config.load(model_of(experiment), config.profile_path(experiment, SMOKE[experiment]), [f"{name}={value}"])
    except UserError as error:
        assert str(error) and "Traceback" not in str(error)


@settings(max_examples=200, deadline=None)
@given(content=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_any_profile_is_read_or_refused_in_one_line(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("fuzz") / "any.toml"
    path.write_bytes(content)
    with pytest.raises(UserError):
        config.load(model_of("mnist"), path)
