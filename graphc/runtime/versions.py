"""What a kept file depends on beside its key: the code that made it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from functools import cache


@cache
def sources_digest(*places: str) -> str:
    """A digest of Python files, and of all those in folders: other code never meets old files.

    About 3 ms for 150 files.
    """
    digest = hashlib.sha256()
    for place in places:
        for path in sorted(_python_files(place)):
            with open(path, "rb") as file:
                content = file.read()
            digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()


def _python_files(place: str) -> Iterator[str]:
    if not os.path.isdir(place):
        yield from [place] if os.path.isfile(place) else []
        return
    with os.scandir(place) as found:
        for item in found:
            if item.is_dir():
                yield from _python_files(item.path)
            elif item.name.endswith(".py"):
                yield item.path
