"""Distillation methods, one file each; the name of a method is the name of its file.

A file defines a class ``Method``, a subclass of ``base.Method``; ``method = "<file>"`` in a profile uses it. To add a
method, add a file.
"""

import importlib
import pkgutil

from repro.errors import UserError
from repro.variants.methods.base import Method


def names() -> list[str]:
    """Return the names of all methods."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "base")


def find(name: str) -> type[Method]:
    """Return the method of this name.

    Raises:
        UserError: there is no such method, or its file defines no class ``Method``.
    """
    if name not in names():
        raise UserError(f"method: must be one of {', '.join(names())}, not {name!r}")
    method = getattr(importlib.import_module(f"{__name__}.{name}"), "Method", None)
    if not (isinstance(method, type) and issubclass(method, Method)):
        raise UserError(f"method {name}: repro/variants/methods/{name}.py must define a class Method(base.Method)")
    return method
