"""Ways to train a student, each in a file of its own, named as the file is.

A file holds a class ``Method``, a subclass of ``base.Method``; a line ``method = "<file>"`` in a profile uses it.
"""

import importlib
import pkgutil

from repro.errors import UserError
from repro.variants.methods.base import Method


def names() -> list[str]:
    """All methods there are."""
    return sorted(one.name for one in pkgutil.iter_modules(__path__) if one.name != "base")


def find(name: str) -> type[Method]:
    """The method of a name.

    Raises:
        UserError: there is none.
    """
    if name not in names():
        raise UserError(f"methods: method: must be one of {', '.join(names())}, not {name!r}")
    return importlib.import_module(f"{__name__}.{name}").Method
