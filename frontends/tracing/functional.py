"""Every function of graphc.functional: torch's and NumPy's."""

from graphc.frontends.tracing.functional_of_numpy import *  # noqa: F403  # re-exports all of it
from graphc.frontends.tracing.functional_of_torch import *  # noqa: F403  # re-exports all of it
