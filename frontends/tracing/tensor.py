"""`Tensor`: a value while a function is traced, with NumPy's operators and method names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from graphc.dtypes import DType
from graphc.errors import TraceError
from graphc.frontends.tracing.registry import call, function_named
from graphc.frontends.tracing.source import located
from graphc.ir import TensorType, Value

if TYPE_CHECKING:
    from graphc.frontends.tracing.holder import Holder
    from graphc.frontends.tracing.recorder import Recorder

# torch's methods that NumPy's arrays have not, and what does the same.
_INSTEAD = {
    "backward": "graphc.grad, or graphc.TrainStep",
    "bool": "x.astype('bool')",
    "contiguous": "x itself",
    "cpu": "x itself",
    "cuda": "x itself, and backend='cuda' where it is compiled",
    "detach": "F.stop_gradient(x)",
    "dim": "x.ndim",
    "double": "x.astype('float64')",
    "expand": "F.broadcast_to(x, shape)",
    "float": "x.astype('float32')",
    "grad": "graphc.grad",
    "int": "x.astype('int32')",
    "long": "x.astype('int64')",
    "masked_fill": "F.where(mask, value, x)",
    "numel": "x.size",
    "numpy": "it after the program has run: outputs are NumPy arrays",
    "permute": "x.transpose(axes)",
    "pow": "x ** y",
    "to": "x.astype(dtype)",
    "unsqueeze": "F.expand_dims(x, axis)",
    "view": "x.reshape(shape)",
}


class Tensor:
    """A value of the program that is being written down.

    Its shape and element type are known, its elements are not: they exist when the program
    runs. (Outside a trace, where operations are computed at once, they are known too.)
    """

    __slots__ = ("elements", "holder", "recorder", "value")

    def __init__(
        self,
        recorder: Recorder,
        value: Value,
        elements: np.ndarray[Any, Any] | None = None,
        holder: Holder | None = None,
    ) -> None:
        self.recorder = recorder
        self.value = value
        self.elements = elements
        self.holder = holder

    def held_by(self, holder: Holder) -> Tensor:
        """The same tensor, marked as the present content of a state tensor."""
        return Tensor(self.recorder, self.value, self.elements, holder)

    # What is known of it

    @property
    def type(self) -> TensorType:
        return self.value.type

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    @property
    def dtype(self) -> DType:
        return self.value.dtype

    @property
    def ndim(self) -> int:
        return self.type.rank

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.type.size

    def __len__(self) -> int:
        if not self.shape:
            raise self._error(f"len() of a traced scalar {self.type}")
        return self.shape[0]

    def __repr__(self) -> str:
        name = f" {self.value.name}" if self.value.name else ""
        elements = "" if self.elements is None else f" {self.elements}"
        return f"<Tensor{name} {self.type}{elements}>"

    __hash__ = object.__hash__

    # Python that needs the elements

    def __bool__(self) -> bool:
        return bool(self._known("the truth of", "F.where, or F.cond to run one of two functions"))

    def __int__(self) -> int:
        return int(self._known("the int of", "F.astype(x, 'int64')"))

    def __float__(self) -> float:
        return float(self._known("the float of", "F.astype(x, 'float32')"))

    def __index__(self) -> int:
        hint = "x[i] or F.take to index with it, F.dynamic_slice to slice, F.scan to loop"
        return self._known("the Python index of", hint).__index__()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        known = self._known("the NumPy array of", "the functions of graphc.functional")
        return np.array(known, dtype=dtype)

    def item(self) -> Any:
        return self._known("the Python number of", "the value itself").item()

    def tolist(self) -> Any:
        return self._known("the list of", "the value itself").tolist()

    def _known(self, wanted: str, instead: str) -> np.ndarray[Any, Any]:
        if self.elements is None:
            raise self._error(
                f"{wanted} {self.type} is not known while tracing, since its elements exist only "
                f"when the program runs; use {instead}"
            )
        return self.elements

    def __iter__(self) -> Iterator[Tensor]:
        """The slices along dimension 0: a loop over them unrolls. `F.scan` stays a loop."""
        if not self.shape:
            raise self._error(f"a loop over a traced scalar {self.type}; use F.scan")
        return (self[position] for position in range(self.shape[0]))

    def __contains__(self, item: Any) -> NoReturn:
        raise self._error(f"`in` on a traced value {self.type}; use F.any(x == item) and F.where")

    def __setitem__(self, index: Any, item: Any) -> NoReturn:
        raise self._error(
            f"a traced value {self.type} never changes in place; "
            "use F.dynamic_update_slice or F.where"
        )

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        function = function_named(ufunc.__name__)
        if method != "__call__" or options or function is None:
            raise self._error(f"numpy.{ufunc.__name__} on a traced value; use graphc.functional")
        return function(*inputs)

    def __array_function__(
        self, func: Callable[..., Any], types: Any, args: Any, kwargs: Any
    ) -> NoReturn:
        name = func.__name__
        known = f"F.{name}" if function_named(name) else "the functions of graphc.functional"
        raise self._error(f"numpy.{name} on a traced value; use {known}")

    def __getattr__(self, name: str) -> NoReturn:
        """Only for names that NumPy's arrays have not: those of torch say what to use instead."""
        instead = _INSTEAD.get(name)
        if instead is None and function_named(name) is not None:
            instead = f"F.{name}(x)"
        hint = f"; use {instead}" if instead else ""
        raise AttributeError(f"a traced value has NumPy's methods, and no {name!r}{hint}")

    def _error(self, text: str) -> TraceError:
        return located(TraceError(text), self.recorder.session.folder)

    # Operators

    def __add__(self, other: Any) -> Tensor:
        return call("add", self, other)

    def __radd__(self, other: Any) -> Tensor:
        return call("add", other, self)

    def __sub__(self, other: Any) -> Tensor:
        return call("subtract", self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return call("subtract", other, self)

    def __mul__(self, other: Any) -> Tensor:
        return call("multiply", self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return call("multiply", other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return call("divide", self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return call("divide", other, self)

    def __floordiv__(self, other: Any) -> Tensor:
        return call("floor_divide", self, other)

    def __rfloordiv__(self, other: Any) -> Tensor:
        return call("floor_divide", other, self)

    def __mod__(self, other: Any) -> Tensor:
        return call("mod", self, other)

    def __rmod__(self, other: Any) -> Tensor:
        return call("mod", other, self)

    def __pow__(self, other: Any) -> Tensor:
        return call("power", self, other)

    def __rpow__(self, other: Any) -> Tensor:
        return call("power", other, self)

    def __matmul__(self, other: Any) -> Tensor:
        return call("matmul", self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return call("matmul", other, self)

    def __and__(self, other: Any) -> Tensor:
        return call("bitwise_and", self, other)

    def __rand__(self, other: Any) -> Tensor:
        return call("bitwise_and", other, self)

    def __or__(self, other: Any) -> Tensor:
        return call("bitwise_or", self, other)

    def __ror__(self, other: Any) -> Tensor:
        return call("bitwise_or", other, self)

    def __xor__(self, other: Any) -> Tensor:
        return call("bitwise_xor", self, other)

    def __rxor__(self, other: Any) -> Tensor:
        return call("bitwise_xor", other, self)

    def __neg__(self) -> Tensor:
        return call("negative", self)

    def __pos__(self) -> Tensor:
        return self

    def __abs__(self) -> Tensor:
        return call("abs", self)

    def __round__(self, decimals: int | None = None) -> Tensor:
        return call("round", self, decimals or 0)

    def __invert__(self) -> Tensor:
        return call("bitwise_not", self)

    def __lt__(self, other: Any) -> Tensor:
        return call("less", self, other)

    def __le__(self, other: Any) -> Tensor:
        return call("less_equal", self, other)

    def __gt__(self, other: Any) -> Tensor:
        return call("greater", self, other)

    def __ge__(self, other: Any) -> Tensor:
        return call("greater_equal", self, other)

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]  # elementwise, as NumPy's
        return call("equal", self, other)

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]  # elementwise, as NumPy's
        return call("not_equal", self, other)

    def __getitem__(self, index: Any) -> Tensor:
        return call("getitem", self, index)

    # Methods, as NumPy's arrays have them

    def astype(self, dtype: Any) -> Tensor:
        return call("astype", self, dtype)

    def reshape(self, *shape: Any) -> Tensor:
        return call("reshape", self, _unpacked(shape))

    def transpose(self, *axes: Any) -> Tensor:
        return call("transpose", self, _unpacked(axes) if axes else None)

    def swapaxes(self, axis1: int, axis2: int) -> Tensor:
        return call("swapaxes", self, axis1, axis2)

    @property
    def T(self) -> Tensor:
        return call("transpose", self)

    @property
    def mT(self) -> Tensor:
        """The last two dimensions exchanged."""
        return call("swapaxes", self, -1, -2)

    def flatten(self) -> Tensor:
        return call("reshape", self, (-1,))

    def ravel(self) -> Tensor:
        return call("reshape", self, (-1,))

    def squeeze(self, axis: Any = None) -> Tensor:
        return call("squeeze", self, axis)

    def repeat(self, repeats: int, axis: int | None = None) -> Tensor:
        return call("repeat", self, repeats, axis)

    def copy(self) -> Tensor:
        """Itself: traced values never change."""
        return self

    def sum(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return call("sum", self, axis, keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return call("mean", self, axis, keepdims)

    def var(self, axis: Any = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
        return call("var", self, axis, ddof, keepdims)

    def std(self, axis: Any = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
        return call("std", self, axis, ddof, keepdims)

    def prod(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return call("prod", self, axis, keepdims)

    def max(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return call("max", self, axis, keepdims)

    def min(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return call("min", self, axis, keepdims)

    def any(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return call("any", self, axis, keepdims)

    def all(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return call("all", self, axis, keepdims)

    def argmax(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        return call("argmax", self, axis, keepdims)

    def argmin(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        return call("argmin", self, axis, keepdims)

    def argsort(self, axis: int = -1) -> Tensor:
        return call("argsort", self, axis)

    def cumsum(self, axis: int | None = None) -> Tensor:
        return call("cumsum", self, axis)

    def clip(self, min: Any = None, max: Any = None) -> Tensor:
        return call("clip", self, min, max)

    def round(self) -> Tensor:
        return call("round", self)

    def take(self, indices: Any, axis: int | None = None) -> Tensor:
        return call("take", self, indices, axis)

    def dot(self, other: Any) -> Tensor:
        return call("dot", self, other)


def _unpacked(arguments: tuple[Any, ...]) -> Any:
    """`x.reshape(2, 3)` and `x.reshape((2, 3))` mean the same."""
    if len(arguments) == 1 and isinstance(arguments[0], tuple | list):
        return arguments[0]
    return arguments
