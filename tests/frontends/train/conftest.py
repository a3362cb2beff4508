"""The folder of published data sets, where there is one beside the repository."""

from __future__ import annotations

from pathlib import Path

import pytest

PUBLISHED = Path(__file__).resolve().parents[3].parent / "shared" / "data"


@pytest.fixture
def published() -> Path:
    if not PUBLISHED.is_dir():
        pytest.skip(f"needs the published data sets in {PUBLISHED}")
    return PUBLISHED
