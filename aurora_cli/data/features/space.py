"""What kept features are of: everything that others would come of. Their folder is named by it."""

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

from aurora_cli.config.merging import TokenMerging
from aurora_cli.config.section import FixedPrecision, Triple
from aurora_cli.errors import DataError
from aurora_cli.io.json_files import StoredModel

SPACE_FILE = "features.json"
NAME_LENGTH = 16

ITEM_BYTES: dict[FixedPrecision, int] = {"fp32": 4, "bf16": 2, "fp16": 2}


class FeatureForm(NamedTuple):
    """How a medium's features lie in their bytes: tokens in reading order, each of `width` values."""

    width: int
    precision: FixedPrecision

    @property
    def token_bytes(self) -> int:
        return self.width * ITEM_BYTES[self.precision]


class FeatureSpace(StoredModel):
    """features.json: what the features beside it are of. Two that differ anywhere share nothing."""

    WHAT = "what kept features are of"

    tower: str
    """Digest of the vision tower's weights in fp32, by their names."""
    tower_config: dict[str, str | int | float | None]
    """What the tower computes with its weights."""
    layers: int
    """Of the tower that run."""
    image_size: int
    image_mean: Triple
    image_std: Triple
    merging: TokenMerging
    precision: FixedPrecision
    """Of the computation, and of the values."""
    width: int
    """Values of a token."""
    device: str
    """Kind of device that they were computed on."""
    versions: dict[str, str]
    """Of the packages that decode, resize and compute."""

    @property
    def form(self) -> FeatureForm:
        return FeatureForm(self.width, self.precision)

    @property
    def name(self) -> str:
        text = json.dumps(self.to_json(), sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=NAME_LENGTH // 2).hexdigest()

    def folder_in(self, features: Path) -> Path:
        """Where its features lie below `features`, made if need be with the file that says what they are of.

        Raises:
            HostError: nothing can be written there.
        """
        folder = features / self.name
        try:
            if FeatureSpace.read(folder / SPACE_FILE) == self:
                return folder
        except DataError:  # missing, or damaged: the folder's name says the same
            pass
        self.write(folder / SPACE_FILE)
        return folder
