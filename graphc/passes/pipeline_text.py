"""Pipelines as text: `simplify,cse,recognise{normalisations=false},autodiff,fuse`.

An option is printed where it differs from its default; reading takes any option of the pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import Field, fields
from typing import Any

from graphc.errors import ParseError
from graphc.passes.base import Pass, Pipeline
from graphc.passes.catalogue import PASSES

_STEP = re.compile(r"\s*(?P<name>[a-z_]+)\s*(\{(?P<options>[^{}]*)\})?\s*(?P<end>,|$)")


def format_pipeline(passes: Iterable[Pass]) -> str:
    """The text that `parse_pipeline` reads back as equal passes."""
    return ",".join(str(step) for step in passes)


def parse_pipeline(text: str) -> Pipeline:
    """The passes that the text names. Raises ParseError with the position of what it refuses.

    >>> [step.name for step in parse_pipeline("cse, dce")]
    ['cse', 'dce']
    """
    passes: list[Pass] = []
    position = 0
    while position < len(text):
        match = _STEP.match(text, position)
        if match is None:
            raise ParseError(
                f"pipeline {text!r}, column {position + 1}: expected a pass such as "
                "'cse' or 'recognise{attention=false}', then ',' or the end"
            )
        passes.append(_make_pass(match["name"], match["options"] or ""))
        position = match.end()
        if match["end"] == "," and not text[position:].strip():
            raise ParseError(f"pipeline {text!r} ends with ','; expected another pass")
    return tuple(passes)


def _make_pass(name: str, text: str) -> Pass:
    if name not in PASSES:
        raise ParseError(f"no pass {name!r}; there are {', '.join(PASSES)}")
    kind = PASSES[name]
    known = {option.name: option for option in fields(kind)}
    options: dict[str, Any] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = (part.strip() for part in item.partition("="))
        if key not in known or not equals:
            expected = ", ".join(f"{option}=…" for option in known) or "no options"
            raise ParseError(f"pass {name!r}: option {item!r}; expected {expected}")
        options[key] = _parse_value(name, known[key], value)
    return kind(**options)


def _parse_value(name: str, option: Field[Any], text: str) -> bool | int | str:
    """The option's value, of the type of its default."""
    if isinstance(option.default, bool):
        if text in ("true", "false"):
            return text == "true"
    elif isinstance(option.default, int):
        if re.fullmatch(r"-?[0-9]+", text):
            return int(text)
    elif text:
        return text
    kind = type(option.default).__name__
    raise ParseError(f"pass {name!r}: {option.name}={text!r}; expected a value of type {kind}")
