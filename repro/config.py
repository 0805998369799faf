"""Settings: typed, read from ``paper_configs/<experiment>/<profile>.toml``, overridable one by one."""

import difflib
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from repro.errors import UserError

CONFIGS = Path("paper_configs")
# By experiment, the profiles whose results are committed: what the reports' words and the claims' describe.
COMMITTED = {
    "mnist": ("paper", "choice"),
    "speech": ("paper", "speechocean762"),
    "specialists": ("paper", "cifar100"),
    "variants": ("mnist", "icons", "cifar100"),
}
# What the parser raises: a TOMLDecodeError, which is a ValueError, and plain ones for endless numbers and brackets.
NOT_TOML = (ValueError, RecursionError)


class Settings(BaseModel):
    """Base of all settings: no unknown name passes, no value changes after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=True)


SettingsType = TypeVar("SettingsType", bound=Settings)


def profile_path(experiment: str, profile: str) -> Path:
    """The file of a profile: a name in ``paper_configs/<experiment>/`` or a path to a TOML file.

    Looked up in the working directory first, then beside the installed package.

    Raises:
        UserError: no such profile; the message lists those there are.
    """
    if profile.endswith(".toml"):
        if not Path(profile).is_file():
            raise UserError(f"profile: there is no file {profile}")
        return Path(profile)
    folders = [CONFIGS / experiment, Path(__file__).parents[1] / CONFIGS / experiment]
    for folder in folders:
        if profile == Path(profile).name and (folder / f"{profile}.toml").is_file():
            return folder / f"{profile}.toml"
    known = sorted({path.stem for folder in folders for path in folder.glob("*.toml")})
    raise UserError(f"profile: must be one of {', '.join(known)}, or a path to a .toml file, not {profile!r}")


def load(model: type[SettingsType], path: Path, overrides: list[str] | None = None) -> SettingsType:
    """Read the settings in ``path`` as ``model``, with ``overrides`` such as ``teacher.epochs=20`` applied.

    Raises:
        UserError: the file cannot be read, is not TOML, or a setting is unknown or out of range.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"profile {path}: cannot be read ({_one_line(error)})") from error
    except NOT_TOML as error:
        raise UserError(f"profile {path}: not valid TOML ({_one_line(error)})") from error
    for override in overrides or []:
        _apply(values, override)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UserError(_explain(error, model)) from error


def _apply(values: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    if not equals or not name.strip():
        raise UserError(f"--set {override!r}: must look like section.name=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except NOT_TOML:
        value = text.strip()
    *path, last = name.strip().split(".")
    for step in path:
        values = values.setdefault(step, {})
        if not isinstance(values, dict):
            raise UserError(f"--set {override!r}: {step} is a single setting, not a section")
    values[last] = value


def _explain(error: ValidationError, model: type[BaseModel]) -> str:
    """One line for the first thing that is wrong with the settings."""
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"]) or "settings"
    more = f" ({len(error.errors()) - 1} more)" if len(error.errors()) > 1 else ""
    if first["type"] == "extra_forbidden":
        known = _names_at(model, first["loc"][:-1])
        near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"it may be one of: {', '.join(sorted(known))}"
        return f"setting {name}: there is no such setting; {hint}{more}"
    if first["type"] == "missing":
        return f"setting {name}: is missing{more}"
    message = first["msg"].removeprefix("Value error, ").replace("Input should", "should")
    given = "" if isinstance(first["input"], dict) else f", not {_one_line(repr(first['input']))}"
    return f"setting {name}: {message}{given}{more}"


def _names_at(model: Any, location: tuple[int | str, ...]) -> list[str]:
    """The setting names that are known where ``location`` points."""
    for part in location:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation
        inner = [t for t in getattr(annotation, "__args__", ()) if hasattr(t, "model_fields")]
        model = inner[0] if inner else annotation
    return list(getattr(model, "model_fields", {}))


def _one_line(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 100 else text[:97] + "..."
