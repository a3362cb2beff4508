"""Data sets and their loader: ``from graphc import data``.

    train = data.Loader(data.cifar10("cifar/"), batch_size=64, seed=0)
    for x, y in train: ...

This file only re-exports ``graphc.frontends.train.data``, each name when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphc.frontends.train.data import transforms as transforms
    from graphc.frontends.train.data.audio import LogMel as LogMel
    from graphc.frontends.train.data.audio import normalised as normalised
    from graphc.frontends.train.data.buckets import BucketLoader as BucketLoader
    from graphc.frontends.train.data.buckets import SequenceDataset as SequenceDataset
    from graphc.frontends.train.data.buckets import sequences as sequences
    from graphc.frontends.train.data.bytepairs import BytePairTokenizer as BytePairTokenizer
    from graphc.frontends.train.data.cifar import cifar10 as cifar10
    from graphc.frontends.train.data.cifar import holds_cifar10 as holds_cifar10
    from graphc.frontends.train.data.dataset import ArrayDataset as ArrayDataset
    from graphc.frontends.train.data.dataset import Dataset as Dataset
    from graphc.frontends.train.data.dataset import ImageDataset as ImageDataset
    from graphc.frontends.train.data.dataset import arrays as arrays
    from graphc.frontends.train.data.idx import idx as idx
    from graphc.frontends.train.data.idx import read_idx as read_idx
    from graphc.frontends.train.data.image_folders import image_folders as image_folders
    from graphc.frontends.train.data.images import LazyImageDataset as LazyImageDataset
    from graphc.frontends.train.data.images import images as images
    from graphc.frontends.train.data.loader import Loader as Loader
    from graphc.frontends.train.data.paired import PairedDataset as PairedDataset
    from graphc.frontends.train.data.paired import paired as paired
    from graphc.frontends.train.data.parallel import multi30k as multi30k
    from graphc.frontends.train.data.parallel import parallel as parallel
    from graphc.frontends.train.data.parallel import translations as translations
    from graphc.frontends.train.data.spec_augment import SpecAugment as SpecAugment
    from graphc.frontends.train.data.spoken import SpokenDigits as SpokenDigits
    from graphc.frontends.train.data.spoken import connected_digits as connected_digits
    from graphc.frontends.train.data.spoken import fsdd as fsdd
    from graphc.frontends.train.data.tables import csv as csv
    from graphc.frontends.train.data.tables import digits as digits
    from graphc.frontends.train.data.text import TextDataset as TextDataset
    from graphc.frontends.train.data.text import text as text
    from graphc.frontends.train.data.tokenizers import CharacterTokenizer as CharacterTokenizer
    from graphc.frontends.train.data.tokenizers import Tokenizer as Tokenizer
    from graphc.frontends.train.data.tokenizers import load_tokenizer as load_tokenizer
    from graphc.frontends.train.data.tokenizers import save_tokenizer as save_tokenizer
    from graphc.frontends.train.data.tokenizers import tokenizer_from_json as tokenizer_from_json
    from graphc.frontends.train.data.wav import read_wav as read_wav
    from graphc.frontends.train.data.words import WordTokenizer as WordTokenizer

_HOME = "graphc.frontends.train.data"
_MODULE_OF = {
    "ArrayDataset": "dataset",
    "BucketLoader": "buckets",
    "BytePairTokenizer": "bytepairs",
    "CharacterTokenizer": "tokenizers",
    "Dataset": "dataset",
    "ImageDataset": "dataset",
    "LazyImageDataset": "images",
    "Loader": "loader",
    "LogMel": "audio",
    "PairedDataset": "paired",
    "SequenceDataset": "buckets",
    "SpecAugment": "spec_augment",
    "SpokenDigits": "spoken",
    "TextDataset": "text",
    "Tokenizer": "tokenizers",
    "WordTokenizer": "words",
    "arrays": "dataset",
    "cifar10": "cifar",
    "connected_digits": "spoken",
    "csv": "tables",
    "digits": "tables",
    "fsdd": "spoken",
    "holds_cifar10": "cifar",
    "idx": "idx",
    "image_folders": "image_folders",
    "images": "images",
    "load_tokenizer": "tokenizers",
    "multi30k": "parallel",
    "normalised": "audio",
    "paired": "paired",
    "parallel": "parallel",
    "read_idx": "idx",
    "read_wav": "wav",
    "save_tokenizer": "tokenizers",
    "sequences": "buckets",
    "text": "text",
    "tokenizer_from_json": "tokenizers",
    "translations": "parallel",
}

__all__ = [*sorted(_MODULE_OF), "transforms"]


def __getattr__(name: str) -> Any:
    if name == "transforms":
        return importlib.import_module(f"{_HOME}.transforms")
    if name not in _MODULE_OF:
        raise AttributeError(f"graphc.data has no {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(f"{_HOME}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
