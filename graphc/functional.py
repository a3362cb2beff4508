"""Functions on tensors, as `import graphc.functional as F`.

A function that torch.nn.functional has takes torch's names, order and defaults; every other one
takes NumPy's. On arrays, outside traced code, each computes at once.

>>> import numpy as np
>>> relu(np.float32([-1, 2]))
array([0., 2.], dtype=float32)
"""

from graphc.frontends.tracing.functional import *  # noqa: F403  # a door: re-exports all of it
