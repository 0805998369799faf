"""Settings: typed, read from ``paper_configs/<experiment>/<profile>.toml``, overridable one by one.

A profile may begin with ``extends = "name"``: it then holds only what differs from that profile. Unknown, renamed and
malformed settings are refused in one line that names them.
"""

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from repro.config_fields import explain, leaf_types, one_line, shown
from repro.errors import UserError

CONFIGS = Path("paper_configs")
# The profiles of each experiment whose results are committed: those that claims and report pages describe.
COMMITTED = {
    "mnist": ("paper", "choice"),
    "speech": ("paper", "synth_search", "speechocean762", "speechocean762_search"),
    "specialists": ("paper", "icons_2percent", "icons_search", "cifar100", "cifar100_2percent", "letters"),
    "variants": ("mnist", "icons", "icons_long", "cifar100"),
}
# Names that stand for several profiles of an experiment, which its command runs in turn.
GROUPS = {
    "variants": {
        "paper": ("mnist", "icons"),
        "quick": ("quick_mnist", "quick_icons"),
        "smoke": ("smoke_mnist", "smoke_icons"),
    }
}
EXTENDS = "extends"
# What the parser raises: a TOMLDecodeError, which is a ValueError, and plain ones for endless numbers and brackets.
NOT_TOML = (ValueError, RecursionError)
NUMBERS = {int, float}
# Finite temperatures above it leave fp32 no digits; the limit, logit regression, has a loss of its own.
HIGHEST_TEMPERATURE = 1e3

Temperature = Annotated[float, Field(gt=0, le=HIGHEST_TEMPERATURE)]
Fraction = Annotated[float, Field(gt=0, le=1)]
ResultsSuffix = Annotated[
    str,
    Field(
        pattern=r"^(-[a-z0-9]+)*$",
        max_length=40,
        description="Suffix of the results' name, such as -wide, for a second setting on the same data. Default: none.",
    ),
]


class Settings(BaseModel):
    """Base class of all settings: unknown names are refused, values are frozen, types are not converted.

    ``renamed`` maps former names of fields to the present ones; the message that refuses a former name shows the new.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=True)
    renamed: ClassVar[dict[str, str]] = {}

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_conversion(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse what pydantic takes for a number or for true: ``true``, ``"5"``, ``nan``, ``5.0`` if whole; ``1``."""
        allowed = set(leaf_types(cls.model_fields[str(info.field_name)].annotation))
        if allowed == {bool} and not isinstance(value, bool):
            raise PydanticCustomError("bool_type", "must be true or false")
        if allowed <= {*NUMBERS, type(None)}:
            for scalar in _scalars(value):
                if isinstance(scalar, bool | str) or scalar != scalar:
                    raise PydanticCustomError("not_a_number", "must be a number")
                if isinstance(scalar, float) and float not in allowed:
                    raise PydanticCustomError("not_whole", "must be a whole number")
        return value


SettingsType = TypeVar("SettingsType", bound=Settings)


def _scalars(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for item in value:
            yield from _scalars(item)
    else:
        yield value


def profile_folders(experiment: str) -> list[Path]:
    """Return where the profiles of an experiment are looked for: the working directory first, then the package."""
    return [CONFIGS / experiment, Path(__file__).parents[1] / CONFIGS / experiment]


def profile_files(experiment: str) -> dict[str, Path]:
    """Return the files of an experiment's profiles by name, in alphabetical order; the first folder's come first."""
    folders = reversed(profile_folders(experiment))
    files = {path.stem: path for folder in folders for path in folder.glob("[!.]*.toml") if path.is_file()}
    return dict(sorted(files.items()))


def profile_path(experiment: str, profile: str) -> Path:
    """Return the file of a profile: a name in ``paper_configs/<experiment>/`` or a path to a TOML file.

    Raises:
        UserError: there is no such profile, or the name stands for several; the message lists the known ones.
    """
    if profile.endswith(".toml"):
        if not os.path.isfile(profile):  # unlike Path.is_file, false for names that are too long
            raise UserError(f"profile: there is no file {one_line(profile)}")
        return Path(profile)
    for folder in profile_folders(experiment):
        if profile == Path(profile).name and os.path.isfile(folder / f"{profile}.toml"):
            return folder / f"{profile}.toml"
    members = GROUPS.get(experiment, {})
    if profile in members:
        raise UserError(f"profile: {profile} stands for {' and '.join(members[profile])}; name one of them")
    known = ", ".join(sorted({*profile_files(experiment), *members}))
    raise UserError(f"profile: must be one of {known}, or a path to a .toml file, not {one_line(repr(profile))}")


def load(
    model: type[SettingsType], path: Path, overrides: list[str] | None = None, experiment: str | None = None
) -> SettingsType:
    """Read the settings in ``path`` as ``model``, with ``overrides`` such as ``teacher.epochs=20`` applied.

    Args:
        experiment: whose profiles ``extends`` may name beside those in the folder of ``path``. Default: no others.

    Raises:
        UserError: a file cannot be read, is not TOML, extends itself or an unknown profile, or a setting is unknown,
            renamed, of the wrong type or out of range.
    """
    values = _read(path, experiment, ())
    for override in overrides or []:
        _apply(values, override)
    return validate(model, values)


def validate(model: type[SettingsType], values: dict[str, Any]) -> SettingsType:
    """Return values as settings.

    Raises:
        UserError: a setting is unknown, renamed, of the wrong type or out of range.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UserError(explain(error, model, values)) from error


def _read(path: Path, experiment: str | None, extending: tuple[Path, ...]) -> dict[str, Any]:
    """Return the values of a profile laid over those of the profile that it extends."""
    if path.resolve() in extending:
        chain = " -> ".join(file.name for file in (*extending, path))
        raise UserError(f"profile {path}: extends itself ({chain})")
    values = _parse(path)
    if EXTENDS not in values:
        return values
    name = values.pop(EXTENDS)
    if not isinstance(name, str):
        raise UserError(f"profile {path}: extends must be the name of a profile in quotes, not {shown(name)}")
    return overlay(_read(_extended(path, name, experiment), experiment, (*extending, path.resolve())), values)


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # editors on Windows begin a file with a BOM
    except UnicodeDecodeError as error:
        raise UserError(f"profile {path}: cannot be read as UTF-8 text ({one_line(error)})") from error
    except OSError as error:
        raise UserError(f"profile {path}: cannot be read ({error.strerror or error})") from error
    except NOT_TOML as error:
        raise UserError(f"profile {path}: not valid TOML ({one_line(error)})") from error


def _extended(path: Path, name: str, experiment: str | None) -> Path:
    """Return the file that ``extends = name`` in ``path`` means: a path from there, or a profile of the experiment."""
    beside = path.parent / (name if name.endswith(".toml") else f"{name}.toml")
    folders = profile_folders(experiment) if experiment and name == Path(name).name else []
    candidates = [beside, *(folder / f"{name}.toml" for folder in folders)]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    known = sorted(
        {file.stem for candidate in candidates for file in candidate.parent.glob("[!.]*.toml")} - {path.stem}
    )
    near = f"it must be one of {', '.join(known)}, or a path to a .toml file" if known else "there is no such file"
    raise UserError(f"profile {path}: extends {shown(name)}, but {near}")


def overlay(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``changes`` laid over it.

    Tables are merged key by key. Lists of named tables, such as ``[[methods]]``, are merged by ``name``: a table of a
    known name is merged with that one in its place, others are appended. All other lists and values are replaced.
    """
    merged = dict(base)
    for key, value in changes.items():
        below = merged.get(key)
        tables, changed = _by_name(below), _by_name(value)
        if isinstance(below, dict) and isinstance(value, dict):
            merged[key] = overlay(below, value)
        elif tables and changed:
            merged[key] = list(overlay(tables, changed).values())
        else:
            merged[key] = value
    return merged


def _by_name(value: Any) -> dict[str, dict[str, Any]] | None:
    """Return a list of tables that each have a name of their own as a table of them; None for anything else."""
    if not isinstance(value, list) or not all(isinstance(table, dict) for table in value):
        return None
    tables = {table["name"]: table for table in value if isinstance(table.get("name"), str)}
    return tables if len(tables) == len(value) else None


def _apply(values: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    parts = [part.strip() for part in name.split(".")]
    given = one_line(repr(override))
    if not equals or not all(parts):
        raise UserError(f"--set {given}: must look like NAME=VALUE")
    if parts == [EXTENDS]:
        raise UserError(f"--set {given}: only a profile can extend another; choose one with --profile")
    try:
        parsed = tomllib.loads(f"value = {text}")
    except NOT_TOML as error:
        if text.lstrip().startswith(("{", "[")):
            raise UserError(
                f"--set {given}: not valid TOML ({one_line(error)}); text in a table or list needs double quotes"
            ) from error
        parsed = {}
    # A text with line breaks may hold further settings.
    value = parsed["value"] if parsed.keys() == {"value"} else text.strip()
    assign(values, parts, value, f"--set {given}")


def assign(values: dict[str, Any], path: list[str], value: Any, name: str) -> None:
    """Set the value of a setting, given by the names of its sections and its own.

    Args:
        name: what the error message begins with.

    Raises:
        UserError: a section is a single setting.
    """
    *sections, last = path
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise UserError(f"{name}: {section} is a single setting, not a section")
    values[last] = value
