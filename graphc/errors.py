"""Every error that graphc raises at a user, one family.

A message names what was given, what was expected and, where there is one, the line of the
user's model: ``conv2d: input has 3 channels, weight expects 1 (cnn.py:14)``.
"""


class GraphcError(Exception):
    """Base of all errors that graphc raises on purpose."""

    line: str | None = None  # the user's line, where the message already names it


class ShapeError(GraphcError, ValueError):
    """Shapes that do not fit an operator, a program or a state tensor."""


class DTypeError(GraphcError, TypeError):
    """An element type that an operator, a program or a state tensor does not take."""


class ArgumentError(GraphcError, ValueError):
    """An option or argument outside its meaning (a negative stride, an unknown backend...)."""


class TraceError(GraphcError, TypeError):
    """Python that cannot be traced, such as ``if`` on a traced value."""


class VerifyError(GraphcError):
    """A graph, kernel or schedule that breaks an invariant of its language."""


class ParseError(GraphcError, ValueError):
    """Text that is not a graph, kernel, schedule or pipeline."""


class PlanError(GraphcError):
    """A memory plan that the independent checker refuses."""


class CompileError(GraphcError):
    """Code generation that failed: an operation or a symbol outside the allowed ones."""


class IndexFault(GraphcError, IndexError):
    """An index known only at run time lay outside its dimension; no update was applied."""


class StateError(GraphcError, ValueError):
    """A state dict whose names, shapes or dtypes differ from the model's."""


class CheckpointError(GraphcError):
    """A checkpoint that is missing, cut or corrupt; the message names the file."""


class DataError(GraphcError, ValueError):
    """A data file that is missing, cut or not in the expected format."""


class MemoryBudgetError(GraphcError):
    """A program whose peak memory exceeds the budget that was given."""


class AgreementError(GraphcError):
    """Programs of one graph, by different passes, whose results differ too far."""
