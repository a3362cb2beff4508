"""`Module`: the base of layers and models, as torch.nn's."""

from __future__ import annotations

import copy
import os
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from graphc.errors import ArgumentError, TraceError
from graphc.frontends.nn import module_state, module_tree
from graphc.frontends.nn.module_state import LoadResult
from graphc.frontends.nn.parameter import Buffer, Parameter, StateTensor
from graphc.frontends.tracing.convert import as_tensor, to
from graphc.frontends.tracing.face import entry
from graphc.frontends.tracing.holder import Holder, RandomKey
from graphc.frontends.tracing.recorder import current, recorder_in_use
from graphc.frontends.tracing.source import Line, defining_code, is_users, user_line
from graphc.frontends.tracing.trees import map_leaves
from graphc.runtime.state import State

if TYPE_CHECKING:
    from graphc.frontends.nn.adapters.base import Adapter

Self = TypeVar("Self", bound="Module")


class Module:
    """A layer or a model: parameters, buffers and modules as attributes, and `forward`.

    Assigning a Parameter or a Module to an attribute registers it. In `forward`, parameters and
    buffers are tensors; assigning to a buffer updates it when the program runs.
    """

    training: bool
    forward: Callable[..., Any]
    random_key: RandomKey

    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Buffer | None]
    _modules: dict[str, Module | None]
    _made_at: Line | None
    _owner: weakref.ref[Module] | None
    _adapters: tuple[Adapter, ...]

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Sets up the registers, so that they exist whether or not `__init__` is called."""
        module = super().__new__(cls)
        module.__dict__.update(
            training=True,
            random_key=RandomKey(),
            _parameters={},
            _buffers={},
            _modules={},
            _made_at=user_line(),
            _owner=None,
            _adapters=(),
        )
        return module

    def __deepcopy__(self: Self, memo: dict[int, Any]) -> Self:
        """A module with arrays of its own, whose parts belong to it."""
        twin: Self = type(self).__new__(type(self))
        memo[id(self)] = twin
        parts = {name: part for name, part in self.__dict__.items() if name != "_owner"}
        twin.__dict__.update(copy.deepcopy(parts, memo))
        for child in twin.children():
            child.__dict__["_owner"] = weakref.ref(twin)
        return twin

    # Registers

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """Enter a parameter; None keeps the name free of one (a layer without bias)."""
        self._claim(name, self._parameters)
        self._parameters[name] = parameter

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """Enter an array that the model keeps; one that is not persistent is not saved."""
        self._claim(name, self._buffers)
        is_buffer = tensor is None or isinstance(tensor, Buffer)
        self._buffers[name] = tensor if is_buffer else Buffer(tensor, persistent)

    def register_module(self, name: str, module: Module | None) -> None:
        """Enter a module under a name of its own."""
        self._claim(name, self._modules)
        self._modules[name] = module
        if module is not None and module._owner is None:
            module.__dict__["_owner"] = weakref.ref(self)

    add_module = register_module

    def _claim(self, name: str, register: Mapping[str, Any]) -> None:
        """Take a name away from the other registers and plain attributes."""
        if not name or "." in name:
            raise ArgumentError(f"{name!r} cannot name a part of a module: no dots, not empty")
        for other in (self._parameters, self._buffers, self._modules, self.__dict__):
            if other is not register:
                other.pop(name, None)

    # Attributes

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Parameter):
            self.register_parameter(name, value)
        elif isinstance(value, Module):
            self.register_module(name, value)
        elif name in self._buffers:
            self._assign_buffer(name, value)
        elif name in self._parameters:
            self._assign_parameter(name, value)
        elif name in self._modules:
            if value is not None:
                raise ArgumentError(f"{name} is a module; it cannot be {type(value).__name__}")
            self._modules[name] = None
        else:
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        """Registered names: Python asks here where there is no plain attribute."""
        registers = self.__dict__
        if name in registers["_parameters"]:
            holder = registers["_parameters"][name]
            return holder if holder is None or recorder_in_use() is None else self._read(holder)
        if name in registers["_buffers"]:
            return self._buffer_value(registers["_buffers"][name])
        if name in registers["_modules"]:
            return registers["_modules"][name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        for register in (self._parameters, self._buffers, self._modules):
            if name in register:
                del register[name]
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._parameters, *self._buffers, *self._modules})

    def _read(self, holder: Holder) -> Any:
        """A state tensor in the program that is being traced."""
        recorder = current()
        if holder not in recorder.session.names:
            recorder.session.adopt(self.root())
        return recorder.read(holder)

    def _buffer_value(self, holder: Buffer | None) -> Any:
        """In a traced program the tensor; outside, an array that cannot be written to."""
        if holder is None:
            return None
        if recorder_in_use() is not None:
            return self._read(holder)
        view = holder.make(0, "").array.view()
        view.setflags(write=False)
        return view

    def _assign_buffer(self, name: str, value: Any) -> None:
        """New elements: now; or where a program is traced, whenever that runs."""
        holder = self._buffers[name]
        if value is None or holder is None:
            self._buffers[name] = None if value is None else Buffer(value)
        elif recorder_in_use() is None:
            holder.set(value)
        else:
            self._read(holder)
            _write(name, holder, value)

    def _assign_parameter(self, name: str, value: Any) -> None:
        holder = self._parameters[name]
        if recorder_in_use() is not None:
            _refuse(
                f"parameter {name} is assigned while tracing; only the optimizer changes "
                "parameters; register_buffer makes a tensor that forward may assign"
            )
        elif value is None:
            self._parameters[name] = None
        elif holder is None:
            raise ArgumentError(f"{name} is {type(value).__name__}; expected nn.Parameter")
        else:
            holder.set(value)

    # Calls

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run `forward`: traced, or on arrays, computed at once."""
        return _call(self, args, kwargs)

    def root(self) -> Module:
        """The model that this module is a part of, or itself."""
        owner = self._owner() if self._owner is not None else None
        if owner is None or not any(child is self for child in owner._modules.values()):
            return self
        return owner.root()

    def source_folder(self) -> str:
        """The folder of the file that defines the model; "" where that is no file."""
        code = defining_code(type(self).forward)
        made = self._made_at.file if self._made_at else ""
        file = code.co_filename if code and is_users(code.co_filename) else made
        return os.path.dirname(file) if os.path.isabs(file) else ""

    def _layer_line(self) -> Line | None:
        """For a layer of graphc the line that made it; a user's forward has lines of its own."""
        code = defining_code(type(self).forward)
        return None if code is None or is_users(code.co_filename) else self._made_at

    # The tree

    def named_children(self) -> Iterator[tuple[str, Module]]:
        return ((name, child) for name, child in self._modules.items() if child is not None)

    def children(self) -> Iterator[Module]:
        return (child for _, child in self.named_children())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """(full name, module) of this module (its name is the prefix) and all in it, once each."""
        return module_tree.named_modules(self, prefix)

    def modules(self) -> Iterator[Module]:
        return (module for _, module in self.named_modules())

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """(full name, parameter), a shared one once."""
        for name, holder in self.named_holders(prefix):
            if isinstance(holder, Parameter):
                yield name, holder

    def parameters(self) -> Iterator[Parameter]:
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self, prefix: str = "") -> Iterator[tuple[str, Buffer]]:
        for name, holder in self.named_holders(prefix):
            if isinstance(holder, Buffer):
                yield name, holder

    def buffers(self) -> Iterator[Buffer]:
        return (buffer for _, buffer in self.named_buffers())

    def named_holders(self, prefix: str = "") -> Iterator[tuple[str, StateTensor]]:
        """(full name, parameter or buffer) in torch's order, a shared one once."""
        return module_tree.named_holders(self, prefix)

    def get_submodule(self, target: str) -> Module:
        """The module of a full name. Raises ArgumentError where there is none."""
        found = dict(module_tree.named_modules(self, "", every_name=True))
        if target not in found:
            raise ArgumentError(f"no module {target!r}; there are {', '.join(filter(None, found))}")
        return found[target]

    def get_parameter(self, target: str) -> Parameter:
        """The parameter of a full name. Raises ArgumentError where there is none."""
        found = module_tree.all_holders(self)
        holder = found.get(target)
        if not isinstance(holder, Parameter):
            raise ArgumentError(f"no parameter {target!r}; there are {', '.join(found)}")
        return holder

    def apply(self: Self, fn: Callable[[Module], Any]) -> Self:
        """Call `fn` on every module in this one, children first, then on this one."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    # Modes

    def train(self: Self, mode: bool = True) -> Self:
        """Training mode: what dropout and batch norm do in a program traced from now on."""
        for module in self.modules():
            module.__dict__["training"] = bool(mode)
        return self

    def eval(self: Self) -> Self:
        return self.train(False)

    def freeze(self: Self, *patterns: str) -> Self:
        """Leave parameters whose full names match a pattern (fnmatch) out of training, by every
        TrainStep that is made from now on. Raises ArgumentError for a pattern that matches none.

        >>> from graphc import nn
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)).freeze("0.*")
        >>> [name for name, parameter in model.named_parameters() if parameter.requires_grad]
        ['1.weight', '1.bias']
        """
        module_state.set_requires_grad(self, patterns, False)
        return self

    def unfreeze(self: Self, *patterns: str) -> Self:
        module_state.set_requires_grad(self, patterns, True)
        return self

    def requires_grad_(self: Self, requires_grad: bool = True) -> Self:
        module_state.set_requires_grad(self, (), requires_grad)
        return self

    # State

    def make_state(self, seed: int = 0) -> State:
        """The arrays of the model, and `key`; made now, from (seed, full name), where unmade."""
        return module_state.state_of(self, seed)

    def state_dict(self) -> dict[str, np.ndarray[Any, Any]]:
        """{full name: elements}, copies; what is unmade is made from seed 0."""
        return module_state.state_dict(self)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> LoadResult:
        """Set elements by full name, all or none.

        Raises StateError that lists the names that are missing, unexpected (both only where
        `strict`) or of another shape or kind of number.
        """
        return module_state.load_state_dict(self, state_dict, strict)

    def to(self: Self, dtype: Any) -> Self:
        """Convert parameters and buffers of a float type to another."""
        module_state.convert_floats(self, dtype)
        return self

    def float(self: Self) -> Self:
        return self.to("float32")

    def double(self: Self) -> Self:
        return self.to("float64")

    # Text

    def extra_repr(self) -> str:
        """What a layer shows of itself between its parentheses."""
        return ""

    def __repr__(self) -> str:
        return module_tree.describe(self)


def _no_forward(self: Module, *args: Any, **kwargs: Any) -> Any:
    raise ArgumentError(f"{type(self).__name__} has no forward method")


Module.forward = _no_forward


@entry
def _call(module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    with current().session.inside(module, module._layer_line()):
        inputs, named = map_leaves(_traced, args), map_leaves(_traced, kwargs)
        output = module.forward(*inputs, **named)
        for adapter in module._adapters:
            output = adapter.adjust(module, next(iter((*inputs, *named.values()))), output)
        return output


def _traced(leaf: Any) -> Any:
    """Arrays become tensors, so that forward's operators are graphc's."""
    return as_tensor(leaf) if isinstance(leaf, np.ndarray) else leaf


@entry
def _write(name: str, holder: Holder, value: Any) -> None:
    tensor = to(value, holder.dtype)
    if tensor.shape != holder.shape:
        raise TraceError(f"buffer {name} is {holder.type}; it cannot become {tensor.type}")
    current().write(holder, tensor)


@entry
def _refuse(text: str) -> None:
    raise TraceError(text)
