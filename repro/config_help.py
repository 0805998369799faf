"""Text of ``repro config EXPERIMENT``: every setting with its type, range, default and meaning, and the profiles."""

import importlib
import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from repro import config
from repro.config import Settings
from repro.config_fields import leaf_types
from repro.errors import UserError

# By the command that reads them: module and class of the settings, and the experiment whose profiles hold them.
MODELS = {
    "mnist": ("repro.mnist.settings", "MnistSettings", "mnist"),
    "mnist-choice": ("repro.mnist.settings", "ChoiceSettings", "mnist"),
    "specialists": ("repro.specialists.settings", "SpecialistsSettings", "specialists"),
    "speech": ("repro.speech.settings", "SpeechSettings", "speech"),
    "variants": ("repro.variants.settings", "VariantsSettings", "variants"),
}
LIST = "list"  # --profile list shows the profiles instead of one of them
LONGEST = 240  # characters of values that are shown
TYPES = {int: "integer", float: "number", bool: "true or false", str: "text", Path: "path"}
HEADER = re.compile(r"#\s*(Purpose|Command|Time|Results):\s*(.*)")


@dataclass(frozen=True)
class Setting:
    """A setting as it is printed: dotted key, type and range, default and chosen value as TOML, and its sentence.

    ``default`` is empty for a required setting; ``values`` are those of a profile, several for a key in a list of
    tables, whose key has ``[]`` there.
    """

    key: str
    kind: str
    default: str
    sentence: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class ProfileHeader:
    """The leading comment lines of a profile; those it does not have are empty."""

    name: str
    purpose: str = ""
    command: str = ""
    time: str = ""
    results: str = ""

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield the names and texts of the lines that are there."""
        for label in ("purpose", "command", "time", "results"):
            if text := getattr(self, label):
                yield label.capitalize(), text


def settings_of(model: type[BaseModel], values: Iterable[Any] = (), prefix: str = "") -> Iterator[Setting]:
    """Yield every setting of a settings class in the order of its fields, those of nested classes with dotted keys.

    Args:
        values: instances of ``model`` whose values are shown; several where it stands in a list of tables.
        prefix: what the keys begin with.
    """
    values = list(values)
    for name, info in model.model_fields.items():
        if name in getattr(model, "unused", ()):  # a recipe's settings that its kind of model does not have
            continue
        here = [getattr(value, name) for value in values]
        nested, depth = _nested(info.annotation)
        key = prefix + name
        if nested is None or info.default in (None, ()):
            default = "" if info.is_required() else _toml(info.get_default(call_default_factory=True))
            shown = tuple(dict.fromkeys(map(_toml, here))) if nested is None else ()
            yield Setting(key, _kind(info), default, info.description or "", shown)
        if nested is not None:
            for _ in range(depth):
                here = [item for items in here if items is not None for item in items]
            inner = [value for value in here if value is not None]
            yield from settings_of(nested, inner, f"{key}{'[]' * depth}.")


def _nested(annotation: Any) -> tuple[type[BaseModel] | None, int]:
    """Return the settings class in an annotation, or None, and in how many lists it stands."""
    models = [leaf for leaf in leaf_types(annotation) if isinstance(leaf, type) and issubclass(leaf, BaseModel)]
    return (models[0], _depth(annotation)) if models else (None, 0)


def _depth(annotation: Any) -> int:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _depth(arguments[0])
    return max(map(_depth, arguments), default=0) + (origin in (tuple, list)) if arguments else 0


def _kind(info: FieldInfo) -> str:
    """Return type and range of a field in words: ``integer, 1 to 100``."""
    return _type(info.annotation) + _bounds(info.metadata, _counted(info.annotation))


def _type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        bounds = [bound for extra in arguments[1:] for bound in getattr(extra, "metadata", [extra])]
        return _type(arguments[0]) + _bounds(bounds, _counted(arguments[0]))
    if origin is Literal:
        return "one of " + ", ".join(map(_toml, arguments))
    if origin in (tuple, list):
        return f"list, each: {_type(arguments[0])}" if arguments else "list"
    if origin is dict or annotation is dict:
        return "table"
    if arguments:  # a union
        return " or ".join(_type(argument) for argument in arguments if argument is not type(None))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    return TYPES.get(annotation, "any value")


def _counted(annotation: Any) -> str:
    """Return what the length of a value is the number of."""
    return "characters" if str in (annotation, *get_args(annotation)) else "items"


def _bounds(metadata: Iterable[Any], counted: str) -> str:
    """Return the bounds of a value; those of lengths are numbers of ``counted``, such as items."""
    names = ("ge", "gt", "le", "lt", "min_length", "max_length")
    ends = {
        name: getattr(bound, name) for bound in metadata for name in names if getattr(bound, name, None) is not None
    }
    if "ge" in ends and "le" in ends:
        words = [f"{ends['ge']:g} to {ends['le']:g}"]
    else:
        signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
        words = [f"{sign} {ends[name]:g}" for name, sign in signs.items() if name in ends]
    if ends.get("min_length"):
        words.append("not empty" if ends["min_length"] == 1 else f"at least {ends['min_length']} {counted}")
    if "max_length" in ends:
        words.append(f"at most {ends['max_length']} {counted}")
    return "".join(f", {word}" for word in words)


def _toml(value: Any) -> str:
    """Return a value as it is written in a profile; ``none`` for what is left out."""
    if isinstance(value, BaseModel):
        return _toml({name: item for name, item in value if item is not None})
    if isinstance(value, dict):
        keys = [name if name.isidentifier() else f'"{name}"' for name in value]  # a bare key with dots is a path
        pairs = [f"{key} = {_toml(item)}" for key, item in zip(keys, value.values(), strict=True)]
        return f"{{ {', '.join(pairs)} }}" if pairs else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, str | Path):
        return f'"{value}"'
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def headers(experiment: str) -> list[ProfileHeader]:
    """Return what the profiles of an experiment say of themselves in their leading comment lines."""
    return [header(path) for path in config.profile_files(experiment).values()]


def header(path: Path) -> ProfileHeader:
    """Read the lines ``# Purpose:``, ``# Command:``, ``# Time:`` and ``# Results:`` at the start of a profile.

    A comment line without such a label continues the line before. A first line without a label is the purpose.
    """
    lines: dict[str, list[str]] = {}
    label = "purpose"
    for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines():
        if not line.startswith("#"):
            break
        labelled = HEADER.match(line)
        label = labelled[1].lower() if labelled else label
        lines.setdefault(label, []).append(labelled[2] if labelled else line.lstrip("# "))
    return ProfileHeader(path.stem, **{name: " ".join(filter(None, text)) for name, text in lines.items()})


def text(command: str, profile: str | None = None, width: int = 80) -> str:
    """Return the settings of a command, or its profiles where ``profile`` is ``list``, as plain text.

    Args:
        command: one of ``MODELS``.
        profile: name or path of the profile whose values are shown. Default: defaults are shown.
        width: columns that lines are wrapped to.

    Raises:
        UserError: there is no such command or profile, or the profile has a malformed setting.
    """
    if command not in MODELS:
        raise UserError(f"EXPERIMENT: must be one of {', '.join(MODELS)}, not {command!r}")
    module, name, experiment = MODELS[command]
    if profile == LIST:
        return (
            "\n\n".join([_profile_text(header, width) for header in headers(experiment)] + _groups(experiment, width))
            + "\n"
        )
    model: type[Settings] = getattr(importlib.import_module(module), name)
    values = []
    if profile is not None:
        values = [config.load(model, config.profile_path(experiment, profile), experiment=experiment)]
    settings = list(settings_of(model, values))
    if command == "variants":
        settings += _method_options(settings)
    sections = [_setting_text(setting, width) for setting in settings]
    title = f"Settings of {command}" + (f", profile {profile}" if profile else "")
    use = "Set one with --set NAME=VALUE or in a profile; a name with [] is in a list of tables."
    return "\n\n".join([f"{title}\n{textwrap.fill(use, width)}", *sections]) + "\n"


def _method_options(settings: Iterable[Setting]) -> Iterator[Setting]:
    """Yield the options of every distillation method of the variants, which the list of tables in ``settings`` sets."""
    from repro.variants import methods

    grid = next(setting.key for setting in settings if setting.kind.startswith("list, each: table"))
    for name in methods.names():
        for option in settings_of(methods.find(name).Options, prefix=f"{grid}[]."):
            yield replace(option, sentence=f"Option of method {name}. {option.sentence}".strip())


def _setting_text(setting: Setting, width: int) -> str:
    chosen = textwrap.shorten(" | ".join(setting.values), LONGEST, placeholder=" ...")
    if chosen:
        first = f"{setting.key} = {chosen}" + (
            "" if chosen == setting.default or not setting.default else f"  (default {setting.default})"
        )
    else:
        first = f"{setting.key} = {setting.default}" if setting.default else f"{setting.key}  (required)"
    return "\n".join(
        [
            *_wrapped(first, width, "", " " * 8),
            *_wrapped(f"{setting.sentence} [{setting.kind}]".lstrip(), width, " " * 4, " " * 4),
        ]
    )


def _profile_text(header: ProfileHeader, width: int) -> str:
    lines = [
        line
        for label, words in header.lines()
        for line in _wrapped(f"{label + ':':<9}{words}", width, " " * 4, " " * 13)
    ]
    return "\n".join([header.name, *lines])


def _groups(experiment: str, width: int) -> list[str]:
    """Return a paragraph on the names that stand for several profiles, if there are any."""
    groups = [f"{group} is {' and '.join(names)}" for group, names in config.GROUPS.get(experiment, {}).items()]
    return ["\n".join(_wrapped(f"Several: {'; '.join(groups)}", width, " " * 4, " " * 13))] if groups else []


def _wrapped(line: str, width: int, first: str, rest: str) -> list[str]:
    return textwrap.wrap(line, width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)
