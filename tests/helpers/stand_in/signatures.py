"""What pybind11 says of a method, and whether a call fits it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

_LINE: Final = re.compile(r"^(?:\d+\. )?(\w+)\((.*)\) -> (.+)$")


@dataclass(frozen=True)
class Parameter:
    """One argument."""

    name: str
    type: str
    optional: bool


@dataclass(frozen=True)
class Signature:
    """One way to call a method."""

    parameters: tuple[Parameter, ...]
    returns: str

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return arguments by name, or raise TypeError as the real method would."""
        names = [p.name for p in self.parameters]
        if len(args) > len(names) or set(kwargs) - set(names[len(args) :]):
            raise TypeError(f"takes {names}, not {args} and {kwargs}")
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        for parameter in self.parameters:
            if parameter.name not in given:
                if not parameter.optional:
                    raise TypeError(f"lacks {parameter.name}")
            elif not _fits(given[parameter.name], parameter.type):
                raise TypeError(f"{parameter.name} is {given[parameter.name]!r}")
        return given


def signatures(method: Any) -> list[Signature]:
    """Return every way to call a method, as its docstring says."""
    found = []
    for line in (method.__doc__ or "").splitlines():
        if match := _LINE.match(line.strip()):
            _, inside, returns = match.groups()
            parameters = tuple(map(_parameter, _split(inside)))
            if parameters and parameters[0].name in {"self", "arg0"}:
                parameters = parameters[1:]
            found.append(Signature(parameters, returns))
    return found


def bind(method: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, str]:
    """Return the arguments of a call by name, and the type it gives."""
    said = []
    for signature in signatures(method):
        try:
            return signature.bind(args, kwargs), signature.returns
        except TypeError as error:
            said.append(str(error))
    raise TypeError(f"{method}: {said or 'no signature found'}")


def _parameter(text: str) -> Parameter:
    name, _, rest = text.partition(":")
    kind, equals, _ = rest.partition(" = ")
    return Parameter(name.strip(), kind.strip(), bool(equals))


def _split(inside: str) -> list[str]:
    """Split at commas that are in no bracket."""
    parts, depth = [""], 0
    for letter in inside:
        depth += (letter in "[(<") - (letter in "])>")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part for part in parts if part.strip()]


def _fits(value: Any, kind: str) -> bool:
    """Tell whether a value may be given where a type is asked for."""
    simple = {
        "str": (str,),
        "bool": (bool,),
        "tuple": (tuple,),
        "typing_extensions.Buffer": (bytes, bytearray, memoryview),
        "collections.abc.Buffer": (bytes, bytearray, memoryview),  # from 3.12 on
        "tensorrt_bindings.tensorrt.Dims": (tuple, list),
    }
    if kind in simple:
        return isinstance(value, simple[kind])
    if kind.startswith("typing.SupportsInt"):
        return isinstance(value, int)
    meant = kind.rpartition(".")[2]
    real = getattr(value, "stands_for", type(value))
    return any(base.__name__ == meant for base in real.__mro__)
