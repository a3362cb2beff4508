"""`graphc models`: the ready models."""

from __future__ import annotations

import argparse

from graphc.models.registry import MODELS


def models(options: argparse.Namespace) -> None:
    for name, model in MODELS.items():
        print(f"{name:12} {model.about}")
