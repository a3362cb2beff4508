"""Pairs of short English and German sentences, made by a small grammar: seq2seq's default data.

Genders, cases and the place of the verb differ between the two, so that words cannot be replaced
one by one.

>>> pairs(1, seed=0)
[('a teacher buys a small nurse .', 'ein lehrer kauft eine kleine pflegerin .')]
"""

from __future__ import annotations

import random

# English, German, gender
_PEOPLE = (
    ("man", "mann", "m"),
    ("woman", "frau", "f"),
    ("child", "kind", "n"),
    ("dog", "hund", "m"),
    ("cat", "katze", "f"),
    ("girl", "mädchen", "n"),
    ("teacher", "lehrer", "m"),
    ("nurse", "pflegerin", "f"),
)
_THINGS = (
    ("book", "buch", "n"),
    ("ball", "ball", "m"),
    ("flower", "blume", "f"),
    ("house", "haus", "n"),
    ("tree", "baum", "m"),
    ("lamp", "lampe", "f"),
    ("letter", "brief", "m"),
    ("newspaper", "zeitung", "f"),
    ("picture", "bild", "n"),
)
_VERBS = (
    ("sees", "sieht"),
    ("finds", "findet"),
    ("reads", "liest"),
    ("buys", "kauft"),
    ("paints", "malt"),
    ("brings", "bringt"),
)
_ADJECTIVES = (
    ("young", "jung"),
    ("old", "alt"),
    ("small", "klein"),
    ("big", "groß"),
    ("red", "rot"),
    ("new", "neu"),
)
_TIMES = (("today", "heute"), ("tomorrow", "morgen"), ("often", "oft"), ("now", "jetzt"))
_THE = {"nominative": {"m": "der", "f": "die", "n": "das"}}
_THE["accusative"] = {"m": "den", "f": "die", "n": "das"}
_A = {"nominative": {"m": "ein", "f": "eine", "n": "ein"}}
_A["accusative"] = {"m": "einen", "f": "eine", "n": "ein"}
# Endings of adjectives after "the" and after "a".
_ENDING = {
    ("the", "nominative"): {"m": "e", "f": "e", "n": "e"},
    ("the", "accusative"): {"m": "en", "f": "e", "n": "e"},
    ("a", "nominative"): {"m": "er", "f": "e", "n": "es"},
    ("a", "accusative"): {"m": "en", "f": "e", "n": "es"},
}


def pairs(count: int, seed: int) -> list[tuple[str, str]]:
    """`count` pairs of a seed; some occur twice."""
    chosen = random.Random(seed)
    return [_pair(chosen) for _ in range(count)]


def _pair(chosen: random.Random) -> tuple[str, str]:
    subject = _phrase(chosen, _PEOPLE, "nominative")
    object = _phrase(chosen, _THINGS + _PEOPLE, "accusative")
    verb = chosen.choice(_VERBS)
    if chosen.random() < 0.5:
        return (
            f"{subject[0]} {verb[0]} {object[0]} .",
            f"{subject[1]} {verb[1]} {object[1]} .",
        )
    # A German sentence that begins with the time has its verb before the subject.
    time = chosen.choice(_TIMES)
    return (
        f"{time[0]} {subject[0]} {verb[0]} {object[0]} .",
        f"{time[1]} {verb[1]} {subject[1]} {object[1]} .",
    )


def _phrase(
    chosen: random.Random, nouns: tuple[tuple[str, str, str], ...], case: str
) -> tuple[str, str]:
    noun = chosen.choice(nouns)
    article = chosen.choice(("the", "a"))
    german = (_THE if article == "the" else _A)[case][noun[2]]
    if chosen.random() < 0.4:
        return f"{article} {noun[0]}", f"{german} {noun[1]}"
    adjective = chosen.choice(_ADJECTIVES)
    ending = _ENDING[article, case][noun[2]]
    spoken = "an" if article == "a" and adjective[0][0] in "aeiou" else article
    return f"{spoken} {adjective[0]} {noun[0]}", f"{german} {adjective[1]}{ending} {noun[1]}"
