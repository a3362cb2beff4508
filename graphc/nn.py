"""Modules and layers, as `from graphc import nn`.

>>> Linear(3, 2)
Linear(in_features=3, out_features=2, bias=True)
"""

from graphc.frontends.nn import *  # noqa: F403  # a door: re-exports all of it
