"""What a network keeps beside its parameters: buffers, attributes, and globals of its own files.

An update carries parameters alone. So whatever else a network keeps must be a constant, which
`kept_by` makes visible: it is called before and after training, and the answers are compared.

It finds mistakes. Not looked at are attributes of other packages' modules, and of their classes
where nothing that is kept is of these; what a generator or a cached function holds; and what an
object in C neither lists nor would pickle.
"""

from __future__ import annotations

import random
import warnings
from array import array
from collections import deque
from collections.abc import Iterator, Mapping, Set
from functools import partial
from hashlib import sha256
from types import (
    BuiltinMethodType,
    ClassMethodDescriptorType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any

import numpy as np
import torch
from torch import nn

_Place = tuple[str, Any]
_IN_C = (
    BuiltinMethodType,
    ClassMethodDescriptorType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    WrapperDescriptorType,
)
_PLAIN = (type(None), bool, int, float, complex, str, bytes, np.generic, torch.dtype, torch.device)
#: What PyTorch itself keeps in every module; its buffers, parameters and modules are looked at.
_INTERNAL = frozenset({*vars(nn.Module()), "training"})


def kept_by(model: nn.Module, modules: Mapping[str, ModuleType]) -> dict[str, str]:
    """Describe everything that a network keeps beside its parameters.

    Args:
        model: the network.
        modules: imported from the study's own files, by file name: a global may change too.
    Returns:
        A text for each value, by its place such as ``layer.mean`` or ``model.py COUNT``; long
        values by their digests. Parameters of the network are left out.
    """
    own = {id(one) for one in model.parameters()}
    found: dict[str, str] = {}
    waiting: list[_Place] = [("", model)]
    for file, module in modules.items():
        waiting += [(f"{file} {name}", value) for name, value in _own_names(module)]
    # Kept alive with their ids: a freed object's id would be given to the next one.
    seen: dict[int, Any] = {}
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, _PLAIN) and not hasattr(value, "__dict__"):
            found[place] = repr(value)
        elif id(value) not in seen:
            seen[id(value)] = value
            if id(value) in own:
                waiting += [*_fields(place, value), (f"{place} hooks", value._backward_hooks)]
                continue
            text, inner = _look_into(place, value)
            found[place] = text
            waiting += inner
            waiting += [(one.__qualname__, one) for one in type(value).__mro__]
    return found


def unregistered(model: nn.Module) -> list[str]:
    """Name trainable parameters that the network holds and PyTorch does not know of."""
    own = {id(one) for one in model.parameters()}
    strays: list[str] = []
    waiting: list[_Place] = [("", model)]
    seen: dict[int, Any] = {}
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, _PLAIN) or id(value) in own or id(value) in seen:
            continue
        seen[id(value)] = value
        if isinstance(value, nn.Parameter) and value.requires_grad:
            strays.append(place)
        waiting += _look_into(place, value)[1]
    return sorted(strays)


def _look_into(place: str, value: Any) -> tuple[str, list[_Place]]:
    """Describe a value, and list what else is in it."""
    text, inner = _contents(place, value)
    if not isinstance(value, nn.Module | type | ModuleType):
        inner += _fields(place, value)
    return text, inner


def _contents(place: str, value: Any) -> tuple[str, list[_Place]]:
    """Describe a value, and list what is in it beside attributes."""
    kind = type(value).__name__
    match value:
        case _ if isinstance(value, _PLAIN):
            return repr(value), []
        case bytearray() | memoryview() | array():
            return f"{kind} {_digest(bytes(value))}", []
        case torch.Tensor():
            return _tensor(value), []
        case np.ndarray() if value.dtype != object:
            return f"{value.dtype}{value.shape} {_digest(value.tobytes())}", []
        case nn.Module():
            return kind, list(_of_module(place, value))
        case torch.Generator():
            return _tensor(value.get_state()), []
        case np.random.Generator():
            return kind, [(f"{place} state", value.bit_generator.state)]
        case random.Random():
            return _digest(repr(value.getstate()).encode()), []
        case list() | tuple() | deque() | np.ndarray():
            return f"{kind} of {len(value)}", [(f"{place}[{at}]", v) for at, v in enumerate(value)]
        case Mapping():
            return f"{kind} of {list(value)!r}", [(f"{place}[{k!r}]", v) for k, v in value.items()]
        case Set():
            return f"{kind} of {sorted(map(repr, value))!r}", []
        case FunctionType():
            cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
            inner = [(f"{place} {name}", cell.cell_contents) for name, cell in cells if _full(cell)]
            defaults = [value.__defaults__, value.__kwdefaults__]
            return kind, [*inner, *((f"{place} defaults", one) for one in defaults if one)]
        case staticmethod() | classmethod():
            return kind, [(place, value.__func__)]
        case property():
            return kind, [(place, one) for one in (value.fget, value.fset, value.fdel) if one]
        case MethodType():
            return kind, [(place, value.__func__), (place, value.__self__)]
        case BuiltinMethodType() | MethodWrapperType():
            return kind, [(place, value.__self__)]
        case partial():
            return kind, [(f"{place} arguments", [value.func, value.args, value.keywords])]
        case type():
            return value.__name__, list(_of_class(place, value))
        case ModuleType():
            # Of libraries; those of the study's own files are looked at above.
            return value.__name__, []
        case _ if any(_fields(place, value)):
            return kind, []
        case _:
            return kind, [(f"{place} state", _reduced(value))]


def _reduced(value: Any) -> Any:
    """What an object without attributes, such as a counter of itertools, would be made from again.

    These are the parts that pickle would write; nothing is made from them.
    """
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        try:
            return value.__reduce_ex__(4)
        except Exception:  # noqa: BLE001  (any object may refuse, with any error)
            return None


def _of_module(place: str, module: nn.Module) -> Iterator[_Place]:
    before = f"{place}." if place else ""
    for part in (module._parameters, module._buffers, module._modules):
        for name, value in part.items():
            yield f"{before}{name}", value
    for name, value in vars(module).items():
        if name not in _INTERNAL or (name.endswith("hooks") and value):
            yield f"{before}{name}", value


def _of_class(place: str, kind: type) -> Iterator[_Place]:
    """List what a class keeps, be it a library's, to which a study's code may have added."""
    for name, value in vars(kind).items():
        if not name.startswith("__") and not isinstance(value, _IN_C):
            yield f"{place}.{name}", value


def _fields(place: str, value: Any) -> Iterator[_Place]:
    slots = [name for one in type(value).__mro__ for name in getattr(one, "__slots__", ())]
    for name, inner in getattr(value, "__dict__", {}).items():
        yield f"{place}.{name}", inner
    for name in slots:
        if isinstance(name, str) and name not in ("__dict__", "__weakref__"):
            yield f"{place}.{name}", getattr(value, name, None)


def _own_names(module: ModuleType) -> Iterator[_Place]:
    """List what a module of the study's own defines."""
    for name, value in vars(module).items():
        if not name.startswith("__"):
            yield name, value


def _tensor(tensor: torch.Tensor) -> str:
    shape = f"{tensor.dtype}{tuple(tensor.shape)}"
    if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
        return f"{shape} {_digest(repr(tensor).encode())}"
    data = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    return f"{shape} {_digest(data.numpy().tobytes())}"


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()[:32]


def _full(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018  (raises where it is empty)
    except ValueError:
        return False
    return True
