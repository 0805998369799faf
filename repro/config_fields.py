"""Fields of settings: the types of their values, and one line on what is wrong with a value."""

import re
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from repro.errors import hint

# pydantic's messages, such as "Input should be a valid integer", as those of the command line: "must be ...".
SHOULD = re.compile(r"^(?:Input|Tuple|String|List|Dictionary) should\b|\bshould\b")
# Wording of pydantic's messages that a reader of a TOML file would not understand.
MESSAGES = {
    "path_type": "must be a path in quotes",
    "string_type": "must be text in quotes",
    "tuple_type": "must be a list, such as [1, 2]",
    "tuple_of_tables_type": "must be a list of tables, such as [{ name = value }]",
    "model_type": "must be a section or a table, such as { name = value }",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
}


def leaf_types(annotation: Any) -> Iterator[Any]:
    """Yield the types of the values in an annotation: ``int`` and ``None`` of ``tuple[int, ...] | None``."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from leaf_types(get_args(annotation)[0])
    elif origin is Literal:
        yield from (type(value) for value in get_args(annotation))
    elif origin in (tuple, list, Union, UnionType):
        for argument in get_args(annotation):
            if argument is not Ellipsis:
                yield from leaf_types(argument)
    else:
        yield annotation


def explain(error: ValidationError, model: type[BaseModel], values: Any) -> str:
    """Return one line on the first problem: a renamed setting, else an unknown one, else any.

    Args:
        error: what pydantic raised.
        model: the settings class.
        values: the values that were refused; tables in a list are called by the names that they have there.
    """
    problems = error.errors()
    more = f" ({len(problems) - 1} more)" if len(problems) > 1 else ""
    unknown = [problem for problem in problems if problem["type"] == "extra_forbidden"]
    renamed = [problem for problem in unknown if problem["loc"][-1] in _renamed_at(model, problem["loc"][:-1])]
    first = next(iter(renamed or unknown or problems))
    *section, last = _path(first["loc"], values) or ["settings"]
    name = one_line(".".join([*section, last]))
    if renamed:
        present = ".".join([*section, _renamed_at(model, first["loc"][:-1])[last]])
        return f"setting {name}: is now called {present}{more}"
    if unknown:
        known = _names_at(model, first["loc"][:-1])
        return f"setting {name}: there is no such setting; {hint(last, known)}{more}"
    if first["type"] == "missing":
        return f"setting {name}: is missing{more}"
    kind = first["type"]
    if kind == "tuple_type" and _models_at(model, first["loc"]):
        kind = "tuple_of_tables_type"
    message = MESSAGES.get(kind) or SHOULD.sub("must", first["msg"].removeprefix("Value error, "))
    message = message.partition(" after validation")[0]
    given = "" if isinstance(first["input"], dict | BaseModel) else f", not {shown(first['input'])}"
    if isinstance(first["input"], dict) and kind.endswith(("_type", "literal_error")):
        given = ", not a table"
    if not first["loc"]:  # of several settings together, which the message names
        return f"setting {message}{more}"
    return f"setting {name}: {message}{given}{more}"


def _path(location: tuple[int | str, ...], values: Any) -> list[str]:
    """Return the parts of a location; a table in a list is called by its name, if it has one, not by its position."""
    path = []
    for part in location:
        inside = values if isinstance(values, dict) else dict(enumerate(values)) if isinstance(values, list) else {}
        values = inside.get(part)
        name = values.get("name") if isinstance(part, int) and isinstance(values, dict) else None
        path.append(name if isinstance(name, str) and name else str(part))
    return path


def _models_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[type[BaseModel]]:
    """Return the settings classes whose fields may be at a location; numbers in it count list items."""
    models = [model]
    for part in location:
        if isinstance(part, str):
            fields = [known.model_fields[part] for known in models if part in known.model_fields]
            leaves = [leaf for field in fields for leaf in leaf_types(field.annotation)]
            models = [leaf for leaf in leaves if isinstance(leaf, type) and issubclass(leaf, BaseModel)]
    return models


def _names_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    return [name for known in _models_at(model, location) for name in known.model_fields]


def _renamed_at(model: type[BaseModel], location: tuple[int | str, ...]) -> dict[str, str]:
    return {
        old: new
        for known in _models_at(model, location)
        for base in known.__mro__
        for old, new in getattr(base, "renamed", {}).items()
    }


def shown(value: object) -> str:
    """Return a wrong value as a message shows it."""
    try:
        return one_line(repr(value))
    except ValueError:  # Python prints no integer of more digits
        return "an integer of more than 4300 digits"


def one_line(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 100 else text[:97] + "..."
