"""What the text forms of both languages share: words, quoting, numbers and source lines.

    name     letters, digits and _, parts joined by dots: conv1.weight      else quoted
    string   "..." with \\n \\t \\r \\" \\\\ \\xXX \\uXXXX \\UXXXXXXXX for what does not print
    number   12, 0.5, 1e-05, 0x7fc00000 (no sign)
    source   # cnn.py:14, "odd name.py:3"        to the end of the line
    comment  a line whose first characters are //

White space and line ends separate words and mean nothing else. A `Scanner` reads words and raises
ParseError, with line, column and what was expected, for anything that does not fit.

>>> quote_unless_name("conv1.weight"), quote_unless_name("a b\\n")
('conv1.weight', '"a b\\\\n"')
>>> words = Scanner("graph @f")
>>> words.expect("graph")
>>> words.expect("(")
Traceback (most recent call last):
    ...
graphc.errors.ParseError: line 1, column 7: expected '(', found '@'
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, NamedTuple, TypeVar

from graphc.dtypes import ALL, DType
from graphc.errors import ParseError

DTYPES = {dtype.short: dtype for dtype in ALL}
NESTING_LIMIT = 64  # of brackets, regions and blocks; what is deeper is refused
DIGIT_LIMIT = 1000  # of one number
EXTENT_LIMIT = 1 << 62  # of one dimension
RANK_LIMIT = 32

Kind = Literal["name", "number", "string", "source", "symbol", "end"]
T = TypeVar("T")

_NAME = r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*"
_NAME_ALONE = re.compile(_NAME)
_WORD = re.compile(
    r"(?P<space>(?:[ \t\r]|\n[ \t\r]*(?://[^\n]*)?)+)"
    rf"|(?P<name>{_NAME})"
    r"|(?P<number>0x[0-9a-fA-F]+|[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)"
    r'|(?P<string>"(?:[^"\\\n]|\\[^\n])*")'
    r"|(?P<source>\#[^\n]*)"
    r"|(?P<symbol>\+=|\.\.|==|!=|<=|>=|//|[()\[\]{}<>,:=+\-*/%@.])"
)
_SOURCE_LINE = re.compile(r'\s*(?:(?P<bare>[^\s",#\\]+)|(?P<string>"(?:[^"\\]|\\.)*"))\s*(,|$)')
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)")
_SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r", '"': '\\"', "\\": "\\\\"}
_LONG = {escape[1]: character for character, escape in _SHORT.items()}


def escape(text: str) -> str:
    """The text on one line of printable characters, as between the quotes of a string."""
    return "".join(map(_escape_character, text))


def _escape_character(character: str) -> str:
    if character in _SHORT:
        return _SHORT[character]
    if character.isprintable():
        return character
    code = ord(character)
    return (
        f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
    )


def quote(text: str) -> str:
    return f'"{escape(text)}"'


def quote_unless_name(text: str, reserved: frozenset[str] = frozenset()) -> str:
    return text if _NAME_ALONE.fullmatch(text) and text not in reserved else quote(text)


def format_float(value: float) -> str:
    """The shortest text that reads back as the same float: 0.1, -0.0, 1e+22, nan, inf."""
    return float.__repr__(float(value))


def format_source(lines: Sequence[str]) -> str:
    """``   # cnn.py:14, cnn.py:20``; nothing where there are no lines."""
    if not lines:
        return ""
    return "   # " + ", ".join(
        line if re.fullmatch(r"[!-~]+", line) and not re.search(r'[",#\\]', line) else quote(line)
        for line in lines
    )


class Token(NamedTuple):
    kind: Kind
    text: str
    start: int  # characters before it


class Scanner:
    """The words of a text, one after the other.

    `accept` takes a word if it comes next, `expect` insists on it; the other methods read one
    item and return its value. A quoted word is never a keyword or symbol.
    """

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            raise ParseError(f"expected text, got {type(text).__name__}")
        # A line end before the text, so that a comment may be its first line.
        self._text = "\n" + text
        self._tokens = list(self._split())
        self._next = 0
        self._depth = 0

    def _split(self) -> Iterator[Token]:
        position = 0
        while position < len(self._text):
            found = _WORD.match(self._text, position)
            if found is None:
                raise self._error_at(position, "a word", repr(self._text[position]))
            if found.lastgroup != "space":
                yield Token(_kind(found), found.group(), position)
            position = found.end()
        yield Token("end", "end of text", position)

    @property
    def token(self) -> Token:
        return self._tokens[self._next]

    def ahead(self, distance: int) -> Token:
        return self._tokens[min(self._next + distance, len(self._tokens) - 1)]

    def advance(self) -> Token:
        token = self.token
        if token.kind != "end":
            self._next += 1
        return token

    def at(self, *words: str) -> bool:
        """Whether one of the keywords or symbols comes next."""
        return self.token.kind in ("name", "symbol") and self.token.text in words

    def accept(self, *words: str) -> str | None:
        return self.advance().text if self.at(*words) else None

    def expect(self, word: str) -> None:
        if not self.accept(word):
            raise self.error(repr(word))

    def error(self, expected: str, token: Token | None = None) -> ParseError:
        """A ParseError at the next word, or at a word read before."""
        token = token or self.token
        found = token.text if token.kind == "end" else repr(token.text[:40])
        return self._error_at(token.start, expected, found)

    def refuse(self, problem: str, token: Token) -> ParseError:
        """A ParseError that says what is wrong with a word rather than what was expected."""
        return ParseError(f"{self._place(token.start)}: {problem}")

    def _error_at(self, position: int, expected: str, found: str) -> ParseError:
        return ParseError(f"{self._place(position)}: expected {expected}, found {found}")

    def _place(self, position: int) -> str:
        before = self._text[:position]
        line = max(1, before.count("\n"))
        return f"line {line}, column {position - before.rfind(chr(10))}"

    @contextmanager
    def nested(self) -> Iterator[None]:
        """One level deeper; refuses text that is nested beyond NESTING_LIMIT."""
        if self._depth >= NESTING_LIMIT:
            raise self.error(f"at most {NESTING_LIMIT} levels of nesting")
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    # Items

    def listed(self, item: Callable[[], T], close: str) -> tuple[T, ...]:
        """Items between commas up to the closing word, which is taken. May be empty."""
        items: list[T] = []
        while not self.accept(close):
            if items:
                self.expect(",")
            items.append(item())
        return tuple(items)

    def name(self, expected: str = "a name", reserved: frozenset[str] = frozenset()) -> str:
        """A bare name that is not reserved, or any string."""
        token = self.token
        if token.kind == "string":
            return self.string()
        if token.kind != "name" or token.text in reserved:
            raise self.error(expected)
        return self.advance().text

    def string(self) -> str:
        if self.token.kind != "string":
            raise self.error("a quoted string")
        token = self.advance()
        return self._unquote(token.text, token)

    def _unquote(self, text: str, token: Token) -> str:
        try:
            return _ESCAPE.sub(_unescape, text[1:-1])
        except ValueError as problem:
            raise self.refuse(str(problem), token) from None

    def integer(self, expected: str = "an integer", most: int | None = None) -> int:
        """A decimal or hexadecimal integer without sign."""
        token = self.token
        if token.kind != "number" or not is_integer(token.text):
            raise self.error(expected)
        self.advance()
        if len(token.text) > DIGIT_LIMIT:
            raise self.refuse(f"more than {DIGIT_LIMIT} digits", token)
        value = int(token.text, 16 if token.text.startswith("0x") else 10)
        if most is not None and value > most:
            raise self.refuse(f"{expected} of at most {most}, found {value}", token)
        return value

    def signed(self) -> int:
        sign = -1 if self.accept("-") else 1
        return sign * self.integer()

    def number(self) -> int | float:
        """A number with or without sign; nan and inf are floats."""
        sign = -1 if self.accept("-") else 1
        if word := self.accept("nan", "inf"):
            return math.copysign(float(word), sign)
        if self.token.kind == "number" and not is_integer(self.token.text):
            return sign * self._float()
        return sign * self.integer("a number")

    def _float(self) -> float:
        if len(self.token.text) > DIGIT_LIMIT:
            raise self.refuse(f"more than {DIGIT_LIMIT} digits", self.token)
        return float(self.advance().text)

    def dtype(self) -> DType:
        token = self.token
        if token.kind != "name" or token.text not in DTYPES:
            raise self.error(f"an element type ({', '.join(DTYPES)})")
        return DTYPES[self.advance().text]

    def at_dtype(self) -> bool:
        return self.token.kind == "name" and self.token.text in DTYPES

    def shape(self) -> tuple[int, ...]:
        """``[64,3,32,32]``"""
        start = self.token
        self.expect("[")
        extents = self.listed(lambda: self.integer("an extent", EXTENT_LIMIT), "]")
        if len(extents) > RANK_LIMIT:
            raise self.refuse(f"{len(extents)} dimensions, expected at most {RANK_LIMIT}", start)
        return extents

    def source(self) -> tuple[str, ...]:
        """The source lines that come next, if any."""
        if self.token.kind != "source":
            return ()
        token = self.advance()
        lines: list[str] = []
        position, more = 1, True
        while more:
            found = _SOURCE_LINE.match(token.text, position)
            if found is None:
                raise self.refuse("expected source lines, file:line, between commas", token)
            bare, string, comma = found.groups()
            lines.append(bare if string is None else self._unquote(string, token))
            position, more = found.end(), comma == ","
        return tuple(lines)

    def end(self) -> None:
        if self.token.kind != "end":
            raise self.error("the end of the text")


def _kind(found: re.Match[str]) -> Kind:
    for kind in ("name", "number", "string", "source"):
        if found.lastgroup == kind:
            return kind
    return "symbol"


def is_integer(number: str) -> bool:
    return number.startswith("0x") or number.isdigit()


def _unescape(found: re.Match[str]) -> str:
    code = found.group(1)
    if len(code) > 1:
        value = int(code[1:], 16)
        if value > 0x10FFFF:
            raise ValueError(f"no character \\{code}")
        return chr(value)
    if code not in _LONG:
        raise ValueError(f"unknown escape \\{code}")
    return _LONG[code]
