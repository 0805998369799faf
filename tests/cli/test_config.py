"""Settings: every malformed one is one clear line that names it."""

import pytest

from repro import config
from repro.errors import UserError
from repro.mnist.settings import ChoiceSettings, MnistSettings
from repro.specialists.settings import SpecialistsSettings

MALFORMED = {
    "seeds=0": "seeds",
    "seeds=five": "seeds",
    "seeds=2.5": "seeds",
    "seed=5": "did you mean seeds?",
    "teacher.hiden=[3]": "did you mean hidden?",
    "teacher.hidden=[]": "teacher.hidden",
    "teacher.hidden=[0]": "teacher.hidden",
    "teacher.hidden=800": "teacher.hidden",
    "teacher.recipe.epochs=0": "teacher.recipe.epochs",
    "teacher.recipe.epochs=-3": "teacher.recipe.epochs",
    "teacher.recipe.epochs=nan": "teacher.recipe.epochs",
    "teacher.recipe.batch_size=0": "teacher.recipe.batch_size",
    "teacher.recipe.learning_rate=0": "teacher.recipe.learning_rate",
    "teacher.recipe.learning_rate=inf": "teacher.recipe.learning_rate",
    "teacher.recipe.hidden_dropout=1.5": "teacher.recipe.hidden_dropout",
    "teacher.recipe.optimizer=adamx": "'adamw' or 'sgd'",
    "teacher.recipe.optimzer=sgd": "did you mean optimizer?",
    "teacher.recipe=fast": "teacher.recipe",
    "distilled.temperature=0": "distilled.temperature",
    "distilled.temperature=-1": "distilled.temperature",
    "distilled.hard_label_weight=1.1": "distilled.hard_label_weight",
    "temperature_sweep.temperatures=[1, 0]": "temperature_sweep.temperatures",
    "temperature_sweep.widths=[]": "temperature_sweep.widths",
    "without_3.transfer_classes=[]": "without_3.transfer_classes",
    "without_3.transfer_classes=[11]": "without_3",
    "without_3.bias_shift.min=9": "without_3.bias_shift.min",
    "data_fractions.fractions=[{ fraction = 2.0, epochs = 1 }]": "data_fractions.fractions.0.fraction",
    "data_fractions.fractions=[{ fraction = 0.1, epochs = 1 }, { fraction = 0.1, epochs = 2 }]": "no two fractions",
    "temperature_sweep.temperatures=[4, 4]": "no two temperatures",
    "without_3.bias_shift.step=1e-9": "without_3.bias_shift.step",
    "teacher.recipe.max_norm=inf": "teacher.recipe.max_norm",
    "max_train_examples=70000": "max_train_examples",
    "nonsense": "must look like",
    "=3": "must look like",
    "seeds.of=3": "seeds is a single setting",
}


@pytest.mark.parametrize("override", MALFORMED)
def test_a_malformed_setting_is_named_in_one_line(override):
    with pytest.raises(UserError) as error:
        config.load(MnistSettings, config.profile_path("mnist", "paper"), [override])
    assert MALFORMED[override] in str(error.value)
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("content", "said"), [("seeds = ", "not valid TOML"), ("", "is missing"), (b"\xff\xfe", "cannot be read")]
)
def test_a_malformed_file_is_named(tmp_path, content, said):
    path = tmp_path / "mine.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=said):
        config.load(MnistSettings, config.profile_path("mnist", str(path)))


def test_an_unknown_profile_lists_the_known_ones():
    with pytest.raises(UserError, match="choice, paper, quick, smoke"):
        config.profile_path("mnist", "papr")
    with pytest.raises(UserError, match="no file"):
        config.profile_path("mnist", "nowhere.toml")


@pytest.mark.parametrize("profile", ["paper", "quick", "smoke"])
def test_profiles_load(profile):
    assert config.load(MnistSettings, config.profile_path("mnist", profile)).seeds >= 2


@pytest.mark.parametrize("profile", ["paper", "cifar100", "quick", "smoke"])
def test_profiles_of_specialists_load(profile):
    settings = config.load(SpecialistsSettings, config.profile_path("specialists", profile))
    assert settings.seeds >= (3 if profile in ("paper", "cifar100") else 2)
    assert settings.data.source == ("cifar100" if profile == "cifar100" else "icons")


def test_choice_profile_loads():
    assert config.load(ChoiceSettings, config.profile_path("mnist", "choice")).candidates


def test_overrides_reach_nested_settings():
    settings = config.load(
        MnistSettings, config.profile_path("mnist", "paper"),
        ["teacher.recipe.epochs=20", "teacher.recipe.optimizer=sgd", "distilled.temperature=inf"],
    )  # fmt: skip
    assert settings.teacher.recipe.epochs == 20 and settings.teacher.recipe.optimizer == "sgd"
    assert settings.distilled.temperature == float("inf")
