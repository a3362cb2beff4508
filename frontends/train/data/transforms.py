"""All transforms, as ``graphc.data.transforms``: see `transform` and `image_transforms`."""

from graphc.frontends.train.data.image_transforms import ColorJitter as ColorJitter
from graphc.frontends.train.data.image_transforms import Cutout as Cutout
from graphc.frontends.train.data.image_transforms import Normalize as Normalize
from graphc.frontends.train.data.image_transforms import RandomCrop as RandomCrop
from graphc.frontends.train.data.image_transforms import (
    RandomHorizontalFlip as RandomHorizontalFlip,
)
from graphc.frontends.train.data.transform import Compose as Compose
from graphc.frontends.train.data.transform import PerExample as PerExample
from graphc.frontends.train.data.transform import Transform as Transform
from graphc.frontends.train.data.transform import as_transform as as_transform
