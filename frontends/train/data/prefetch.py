"""Batches made ahead of their use, on one thread of their own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Made = TypeVar("Made")


def made_ahead(calls: Iterable[Callable[[], Made]], count: int) -> Iterator[Made]:
    """What the calls give, in order; `count` of them run ahead on a thread, 0 runs each when due.

    One thread, so that no two calls run at once. What a call raises is raised where its result is
    due. An iteration that is left early waits for the call that is running.

    >>> list(made_ahead([lambda: 1, lambda: 2, lambda: 3], count=2))
    [1, 2, 3]
    """
    if not count:
        yield from (call() for call in calls)
        return
    waiting: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(1, "graphc-loader") as thread:
        try:
            for call in calls:
                waiting.append(thread.submit(call))
                if len(waiting) > count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
