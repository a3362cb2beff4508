"""Activations as modules, as torch.nn's. `inplace` is taken and ignored: nothing is in place."""

from __future__ import annotations

from typing import Any

from graphc.frontends.nn import init
from graphc.frontends.nn.module import Module
from graphc.frontends.nn.parameter import Parameter
from graphc.frontends.tracing import functional as F


class _Plain(Module):
    """An activation with no option but `inplace`."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace


class ReLU(_Plain):
    """max(0, x)."""

    def forward(self, input: Any) -> Any:
        return F.relu(input)


class ReLU6(_Plain):
    """min(max(0, x), 6)."""

    def forward(self, input: Any) -> Any:
        return F.relu6(input)


class SiLU(_Plain):
    """x sigmoid(x)."""

    def forward(self, input: Any) -> Any:
        return F.silu(input)


class Mish(_Plain):
    """x tanh(softplus(x))."""

    def forward(self, input: Any) -> Any:
        return F.mish(input)


class SELU(_Plain):
    """scale (x above 0, alpha (exp(x) - 1) below), with the constants of Klambauer et al., 2017."""

    def forward(self, input: Any) -> Any:
        return F.selu(input)


class Hardswish(_Plain):
    """x min(max(0, x + 3), 6) / 6."""

    def forward(self, input: Any) -> Any:
        return F.hardswish(input)


class Hardsigmoid(_Plain):
    """min(max(0, x + 3), 6) / 6."""

    def forward(self, input: Any) -> Any:
        return F.hardsigmoid(input)


class Sigmoid(Module):
    """1 / (1 + exp(-x))."""

    def forward(self, input: Any) -> Any:
        return F.sigmoid(input)


class LogSigmoid(Module):
    """log(sigmoid(x)), which does not overflow."""

    def forward(self, input: Any) -> Any:
        return F.logsigmoid(input)


class Tanh(Module):
    """tanh(x)."""

    def forward(self, input: Any) -> Any:
        return F.tanh(input)


class Softsign(Module):
    """x / (1 + |x|)."""

    def forward(self, input: Any) -> Any:
        return F.softsign(input)


class GELU(Module):
    """Exact ("none") or by tanh."""

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, input: Any) -> Any:
        return F.gelu(input, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class Softplus(Module):
    """log(1 + exp(beta x)) / beta; x itself where beta x is above `threshold`."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta = beta
        self.threshold = threshold

    def forward(self, input: Any) -> Any:
        return F.softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


class LeakyReLU(Module):
    """x above 0, negative_slope x below."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__()
        self.negative_slope = negative_slope
        self.inplace = inplace

    def forward(self, input: Any) -> Any:
        return F.leaky_relu(input, self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"


class ELU(Module):
    """x above 0, alpha (exp(x) - 1) below."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha = alpha
        self.inplace = inplace

    def forward(self, input: Any) -> Any:
        return F.elu(input, self.alpha)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}"


class CELU(ELU):
    """x above 0, alpha (exp(x / alpha) - 1) below."""

    def forward(self, input: Any) -> Any:
        return F.celu(input, self.alpha)


class Hardtanh(Module):
    """min(max(min_val, x), max_val)."""

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.min_val = min_val
        self.max_val = max_val

    def forward(self, input: Any) -> Any:
        return F.hardtanh(input, self.min_val, self.max_val)

    def extra_repr(self) -> str:
        return f"min_val={self.min_val}, max_val={self.max_val}"


class PReLU(Module):
    """A learned slope below 0, one or one for each channel; weight[num_parameters]."""

    def __init__(self, num_parameters: int = 1, init_value: float = 0.25, dtype: Any = None):
        super().__init__()
        self.num_parameters = num_parameters
        self.weight = Parameter((num_parameters,), init.constant(init_value), dtype)

    def forward(self, input: Any) -> Any:
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class GLU(Module):
    """a sigmoid(b), a and b the halves of x along `dim`."""

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Any) -> Any:
        return F.glu(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Softmax(Module):
    """Along `dim`; without one, along the last dimension."""

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Any) -> Any:
        return F.softmax(input, -1 if self.dim is None else self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class LogSoftmax(Softmax):
    """log(softmax(x)) along `dim`; without one, along the last dimension."""

    def forward(self, input: Any) -> Any:
        return F.log_softmax(input, -1 if self.dim is None else self.dim)
