"""Makes helpers in this folder importable from every test: `from random_graphs import …`."""

from __future__ import annotations

import pytest
from hypothesis import settings

# No deadline for one example: a busy machine is no failure.
settings.register_profile("steady", deadline=None)
settings.load_profile("steady")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite", action="store_true", help="rewrite the expected text of golden tests"
    )
