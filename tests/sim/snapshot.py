"""Copies of a whole world, closures and all, by pickle: `copy.deepcopy` is too slow for `exhaust`,
and would leave the closures with which a core waits for its peer's answer tied to the old world.

Decides what is shared by the copies: frozen messages and records, which nobody changes.
"""

from __future__ import annotations

import io
import pickle
from copy import copy
from types import CellType, CodeType, FunctionType
from typing import Any

import msgspec

_shared: list[Any] = []
_index: dict[int, int] = {}  # by id, which stays taken since the object is kept
_functions: dict[CodeType, int] = {}
_models: dict[type, Any] = {}  # a struct can only be made as a copy of another one


def _share(value: Any) -> int:
    found = _index.get(id(value))
    if found is None:
        found = _index[id(value)] = len(_shared)
        _shared.append(value)
    return found


def _shared_at(index: int) -> Any:
    return _shared[index]


def _make_function(index: int, cells: int) -> FunctionType:
    model = _shared[index]
    closure = tuple(CellType() for _ in range(cells))
    made = FunctionType(
        model.__code__, model.__globals__, model.__name__, model.__defaults__, closure
    )
    made.__qualname__ = model.__qualname__
    return made


def _set_cells(function: FunctionType, contents: list[Any]) -> None:
    for cell, value in zip(function.__closure__ or (), contents, strict=True):
        cell.cell_contents = value


def _make_struct(index: int) -> Any:
    return copy(_shared[index])


def _set_fields(struct: Any, fields: list[tuple[str, Any]]) -> None:
    for name, value in fields:
        setattr(struct, name, value)


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        kind = type(value)
        if kind is FunctionType and "<locals>" in value.__qualname__:
            index = _functions.get(value.__code__)
            if index is None:
                index = _functions[value.__code__] = _share(value)
            contents = [cell.cell_contents for cell in value.__closure__ or ()]
            made = (index, len(contents))
            return (_make_function, made, contents, None, None, _set_cells)
        if kind is memoryview:
            return (memoryview, (bytes(value),))
        if isinstance(value, msgspec.Struct):
            if kind.__struct_config__.frozen:
                return (_shared_at, (_share(value),))
            fields = [(name, getattr(value, name)) for name in kind.__struct_fields__]
            model = _models.setdefault(kind, value)
            return (_make_struct, (_share(model),), fields, None, None, _set_fields)
        return NotImplemented


def snapshot(world: Any) -> bytes:
    """The world as it is now."""
    file = io.BytesIO()
    _Pickler(file, 5).dump(world)
    return file.getvalue()


def restored(snapped: bytes) -> Any:
    """A world of its own, as it was."""
    return pickle.loads(snapped)
