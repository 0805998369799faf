"""Settings: profiles that extend others, and one clear line for everything that is malformed."""

from typing import Annotated, ClassVar, Literal

import pytest
from pydantic import Field, model_validator

from repro import config, config_help
from repro.config import Settings
from repro.errors import UserError

PROFILES = [(experiment, name) for experiment in config.COMMITTED for name in config.profile_files(experiment)]


class Recipe(Settings):
    """A section of the class below."""

    renamed: ClassVar[dict[str, str]] = {"batch": "batch_size", "lowest": "shift.min"}

    epochs: float = Field(gt=0, le=1000, description="Number of epochs.")
    batch_size: int = Field(256, ge=1, description="Examples in a batch. Default: 256.")
    optimizer: Literal["adamw", "sgd"] = Field("adamw", description="Update rule. Default: adamw.")


class Method(Settings):
    """A table of the list below."""

    renamed: ClassVar[dict[str, str]] = {"candidates": "grid"}

    name: str = Field(description="Name of the row.")
    weight: float = Field(1.0, ge=0, description="Weight of the term. Default: 1.")
    grid: tuple[float, ...] = Field((), description="Values tried.")


class Experiment(Settings):
    """Settings with sections, lists and a rule of their own."""

    renamed: ClassVar[dict[str, str]] = {"looks": "num_evals"}

    seeds: int = Field(ge=1, le=100, description="Number of seeds.")
    num_evals: int = Field(20, ge=1, description="Number of evaluations. Default: 20.")
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = Field((800, 800), min_length=1, description="Hidden units.")
    recipe: Recipe = Field(description="How the model is trained.")
    extra: Recipe | None = Field(None, description="How another model is trained. Default: it is left out.")
    methods: tuple[Method, ...] = Field((), description="Methods that are compared.")
    flip: bool = Field(False, description="Whether images are flipped.")

    @model_validator(mode="after")
    def _consistent(self) -> "Experiment":
        if len({method.name for method in self.methods}) < len(self.methods):
            raise ValueError("methods must have different names")
        return self


BASE = """
seeds = 2
[recipe]
epochs = 10
batch_size = 64
[[methods]]
name = "kd"
weight = 0.5
grid = [1, 2]
[[methods]]
name = "hints"
"""


@pytest.fixture
def read(tmp_path):
    """Return a function that writes profiles, given by name, and loads the last of them with overrides."""

    def load(*overrides: str, **profiles: str) -> Experiment:
        for name, content in ({"base": BASE} | profiles).items():
            (tmp_path / f"{name}.toml").write_text(content, encoding="utf-8")
        return config.load(Experiment, tmp_path / f"{next(reversed(profiles), 'base')}.toml", list(overrides))

    return load


def test_a_profile_that_extends_another_keeps_what_it_does_not_name(read):
    settings = read(mine='extends = "base"\nseeds = 5\nhidden = [30]\n[recipe]\nepochs = 3')
    assert (settings.seeds, settings.hidden) == (5, (30,))
    assert (settings.recipe.epochs, settings.recipe.batch_size) == (3, 64)
    assert [method.name for method in settings.methods] == ["kd", "hints"]


def test_named_tables_are_merged_by_name_and_other_lists_replaced(read):
    changes = '[[methods]]\nname = "kd"\ngrid = [4]\n[[methods]]\nname = "mine"\nweight = 3.0'
    methods = read(mine=f'extends = "base"\n{changes}').methods
    assert [(method.name, method.weight, method.grid) for method in methods] == [
        ("kd", 0.5, (4.0,)),
        ("hints", 1.0, ()),
        ("mine", 3.0, ()),
    ]


def test_a_profile_extends_through_several_levels_and_paths(read, tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "deep.toml").write_text('extends = "../base.toml"\nseeds = 7')
    settings = read("seeds=9", middle='extends = "below/deep.toml"\nnum_evals = 4', top='extends = "middle"')
    assert (settings.seeds, settings.num_evals, settings.recipe.batch_size) == (9, 4, 64)


def test_a_profile_elsewhere_extends_a_profile_of_the_experiment_by_name(tmp_path):
    (tmp_path / "mine.toml").write_text('extends = "smoke"\nseeds = 9')
    module, name, experiment = config_help.MODELS["mnist"]
    model = getattr(pytest.importorskip(module), name)
    settings = config.load(model, tmp_path / "mine.toml", experiment=experiment)
    original = config.load(model, config.profile_path("mnist", "smoke"))
    assert settings == original.model_copy(update={"seeds": 9})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('extends = "mine"', "extends itself (mine.toml -> mine.toml)"),
        ('extends = "other"', "extends itself (mine.toml -> other.toml -> mine.toml)"),
        ('extends = "bse"', "extends 'bse', but it must be one of base, other, or a path to a .toml file"),
        ('extends = "nowhere.toml"', "extends 'nowhere.toml', but it must be one of"),
        ("extends = 3", "extends must be the name of a profile in quotes, not 3"),
        ("extends = ", "not valid TOML"),
    ],
)
def test_a_profile_that_extends_nothing_usable_is_one_line(read, content, message):
    with pytest.raises(UserError) as error:
        read(other='extends = "mine"', mine=content)
    assert message in str(error.value) and "\n" not in str(error.value)


MALFORMED = {
    "seeds=0": "setting seeds: must be greater than or equal to 1, not 0",
    "seeds=101": "setting seeds: must be less than or equal to 100, not 101",
    "seeds=five": "setting seeds: must be a number, not 'five'",
    "seeds='5'": "setting seeds: must be a number, not '5'",
    "seeds=true": "setting seeds: must be a number, not True",
    "seeds=2.5": "setting seeds: must be a whole number, not 2.5",
    "seeds=2.0": "setting seeds: must be a whole number, not 2.0",
    "seeds=inf": "setting seeds: must be a whole number, not inf",
    "seeds=[1]": "setting seeds: must be a valid integer, not [1]",
    "sedes=5": "setting sedes: there is no such setting; did you mean seeds?",
    "recipe.epoch=3": "setting recipe.epoch: there is no such setting; did you mean epochs?",
    "recipe.zzz=3": "it must be one of: batch_size, epochs, optimizer",
    "recipe.epochs=true": "setting recipe.epochs: must be a number, not True",
    "recipe.epochs=nan": "setting recipe.epochs: must be a number, not nan",
    "recipe.optimizer=adam": "setting recipe.optimizer: must be 'adamw' or 'sgd', not 'adam'",
    "recipe=fast": "setting recipe: must be a section or a table, such as { name = value }, not 'fast'",
    "extra.epochs=0": "setting extra.epochs: must be greater than 0",
    "hidden=800": "setting hidden: must be a list, such as [1, 2], not 800",
    "hidden=[]": "setting hidden: must have at least 1 item, not []",
    "hidden=[10, true]": "setting hidden: must be a number",
    "hidden=[10, 0]": "setting hidden.1: must be greater than or equal to 1, not 0",
    "flip=5": "setting flip: must be true or false, not 5",
    "methods=[{ name = 3 }]": "setting methods.0.name: must be text in quotes, not 3",
    "methods=[{ name = 'a' }, { name = 'a' }]": "methods must have different names",
    "looks=5": "setting looks: is now called num_evals",
    "recipe.batch=5": "setting recipe.batch: is now called recipe.batch_size",
    "recipe.lowest=5": "setting recipe.lowest: is now called recipe.shift.min",
    "extra={ batch = 5 }": "setting extra.batch: is now called extra.batch_size (1 more)",
    "methods=[{ candidates = [] }]": "setting methods.0.candidates: is now called methods.0.grid (1 more)",
    "nonsense": "must look like NAME=VALUE",
    "=3": "must look like NAME=VALUE",
    "seeds.of=3": "seeds is a single setting, not a section",
}


@pytest.mark.parametrize("override", MALFORMED)
def test_a_malformed_setting_is_named_in_one_line(read, override):
    with pytest.raises(UserError) as error:
        read(override)
    assert MALFORMED[override] in str(error.value)
    assert "\n" not in str(error.value) and len(str(error.value)) < 300 and "should" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"seeds = ", "not valid TOML"), (b"", "is missing"), (b"\xff\xfe", "cannot be read")],
)
def test_a_malformed_file_is_named(tmp_path, content, message):
    (tmp_path / "mine.toml").write_bytes(content)
    with pytest.raises(UserError, match=message):
        config.load(Experiment, tmp_path / "mine.toml")


def test_a_byte_order_mark_at_the_start_of_a_profile_is_accepted(tmp_path):
    (tmp_path / "mine.toml").write_bytes(b"\xef\xbb\xbf" + BASE.encode())
    assert config.load(Experiment, tmp_path / "mine.toml").seeds == 2


def test_a_path_that_is_a_number_is_refused():
    from repro.data.sources import ImageSource

    with pytest.raises(UserError, match="setting folder: must be a path in quotes, not 2024"):
        _validate(ImageSource, "source=folder", "folder=2024")


def _validate(model: type[Settings], *overrides: str) -> Settings:
    path = config.CONFIGS / "empty.toml"
    values = pytest.MonkeyPatch()
    with values.context() as patch:
        patch.setattr(config, "_parse", lambda path: {})
        return config.load(model, path, list(overrides))


def test_an_unknown_profile_lists_the_known_ones():
    with pytest.raises(UserError, match="choice, evening, gpu, gpu_choice, long, paper, quick, smoke"):
        config.profile_path("mnist", "papr")
    with pytest.raises(UserError, match="no file"):
        config.profile_path("mnist", "nowhere.toml")
    with pytest.raises(
        UserError, match="cifar100, cifar100_resnet, classifier, icons, icons_long, mnist, paper, quick, quick_icons"
    ):
        config.profile_path("variants", "papr")
    with pytest.raises(UserError, match="paper stands for mnist and icons; name one of them"):
        config.profile_path("variants", "paper")


def command_of(experiment: str, profile: str) -> str:
    """Return the command whose settings a profile holds."""
    return "mnist-choice" if experiment == "mnist" and profile.endswith("choice") else experiment


@pytest.mark.parametrize(("experiment", "profile"), PROFILES)
def test_every_profile_is_listed_with_its_values(experiment, profile):
    text = config_help.text(command_of(experiment, profile), profile, width=80)
    assert "seeds = " in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("command", config_help.MODELS)
def test_the_description_of_every_setting_is_a_sentence(command):
    module, name, _ = config_help.MODELS[command]
    model = getattr(pytest.importorskip(module), name)
    fragments = [
        setting.key
        for setting in config_help.settings_of(model)
        if not setting.sentence or not (setting.sentence[0].isupper() and setting.sentence.rstrip()[-1] in ".)")
    ]
    assert not fragments


def test_the_text_of_settings_names_type_range_default_and_meaning(read):
    settings = {setting.key: setting for setting in config_help.settings_of(Experiment, [read()])}
    assert settings["seeds"] == config_help.Setting("seeds", "integer, 1 to 100", "", "Number of seeds.", ("2",))
    assert settings["recipe.epochs"].kind == "number, > 0, <= 1000"
    assert settings["recipe.optimizer"].kind == 'one of "adamw", "sgd"'
    assert settings["recipe.batch_size"].default == "256" and settings["recipe.batch_size"].values == ("64",)
    assert settings["hidden"].kind == "list, each: integer, >= 1, not empty"
    assert settings["methods[].name"].values == ('"kd"', '"hints"')
    assert settings["extra"].default == "none" and settings["extra.epochs"].values == ()


def test_a_profile_that_cannot_be_read_or_has_two_endings_does_not_hide_the_others(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "paper_configs" / "mnist"
    folder.mkdir(parents=True)
    (folder / "mine.toml").write_bytes(b"# Purpose: caf\xe9\n")
    (folder / "twice.toml.toml").write_text("# Purpose: a copy\n")
    text = config_help.text("mnist", "list")
    assert "caf\ufffd" in text and "twice.toml\n    Purpose: a copy" in text and "\nsmoke\n" in text


def test_the_header_of_a_profile_is_read(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        "# Purpose: The whole of section 3,\n#   five seeds.\n# Command: make mnist\n# Time: 2 h (2 cores)\n\n# other\n"
    )
    header = config_help.header(path)
    assert header == config_help.ProfileHeader(
        "mine", "The whole of section 3, five seeds.", "make mnist", "2 h (2 cores)"
    )
    assert list(header.lines()) == [("Purpose", header.purpose), ("Command", "make mnist"), ("Time", "2 h (2 cores)")]


@pytest.mark.parametrize("command", config_help.MODELS)
def test_the_profiles_of_an_experiment_are_listed(command):
    text = config_help.text(command, "list", width=80)
    names = [*config.profile_files(config_help.MODELS[command][2])]
    assert [line for line in text.splitlines() if line and not line.startswith(" ")] == names
    assert ("quick is quick_mnist and quick_icons" in " ".join(text.split())) == (command == "variants")
    assert text.count("Purpose: ") == len(names) and max(map(len, text.splitlines())) <= 80


def test_an_unknown_experiment_or_profile_to_list_is_one_line():
    with pytest.raises(UserError, match="EXPERIMENT: must be one of mnist, mnist-choice, specialists"):
        config_help.text("mnst")
    with pytest.raises(UserError, match="profile: must be one of choice, evening, gpu, gpu_choice, long, paper"):
        config_help.text("mnist", "papr")
