"""Makes helpers in this folder importable from every test: `from random_graphs import …`."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

# No deadline for one example: a busy machine is no failure.
settings.register_profile("steady", deadline=None)
settings.load_profile("steady")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite", action="store_true", help="rewrite the expected text of golden tests"
    )


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Programs that tests compile, broken ones too, never reach the user's own cache."""
    before = os.environ.get("GRAPHC_CACHE")
    if before is None:
        os.environ["GRAPHC_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["GRAPHC_CACHE"]
