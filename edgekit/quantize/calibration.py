"""What the inputs of a model's products look like: statistics of a run over texts, and the scales that follow.

In: `ProductInputs` of each product, by the name of its weight. Out: one activation scale for int8 (``max``,
``percentile`` or ``mse``), per-channel maxima and mean squares for what weighs channels. `edgekit.quantize.calibrate`
collects them; a `Calibration` can be saved and loaded.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import InputError

Floats = NDArray[np.float32]
ScaleMethod = Literal["max", "percentile", "mse"]
SCALE_METHODS: tuple[str, ...] = get_args(ScaleMethod)

# Activations are rounded to -127..127.
LARGEST = 127
# One input in ten thousand may be cut off; one of the percentiles that https://arxiv.org/abs/2004.09602 compares.
PERCENTILE = 99.99
# Shares of the largest input that the least squared error is sought among.
SHARES = np.linspace(0.02, 1, 99)
FIELDS = ("largest", "mean_absolute", "mean_square", "sample")


@dataclass(frozen=True, eq=False)
class ProductInputs:
    """What a calibration saw of one product's inputs, ``float32 [rows, width]``.

    Attributes:
        rows: how many rows there were.
        largest: the largest magnitude of each channel, ``float32 [width]``.
        mean_absolute: the mean magnitude of each channel, ``float32 [width]``.
        mean_square: the mean square of each channel, ``float32 [width]``.
        sample: some of the rows, each as likely as any other, ``float32 [at most 256, width]``.
    """

    rows: int
    largest: Floats
    mean_absolute: Floats
    mean_square: Floats
    sample: Floats

    def scale(self, method: ScaleMethod) -> np.float32:
        """The step of these inputs as int8, ``clip(round(x / scale), -128, 127)``; 1 where all are zero.

        "max" is ``max|x| / 127``: nothing is cut off. "percentile" cuts off the largest 0.01 % of the sample
        (https://arxiv.org/abs/2004.09602). "mse" has the least ``sum (x - scale * q)^2`` over the sample, of 99 shares
        of the largest input (https://arxiv.org/abs/1902.06822).

        Raises:
            InputError: another method.
        """
        if method not in SCALE_METHODS:
            raise InputError(f"unknown method {method!r} for activation scales: expected {' or '.join(SCALE_METHODS)}")
        largest = float(self.largest.max(initial=0))
        if method == "percentile":
            largest = min(largest, float(np.percentile(np.abs(self.sample), PERCENTILE)))
        elif method == "mse":
            largest *= _least_error_share(self.sample, largest)
        scale = np.float32(largest / LARGEST)
        return scale if scale >= np.finfo(np.float32).tiny else np.float32(1)

    def divided(self, factors: Floats) -> ProductInputs:
        """The statistics of the same inputs after each channel was divided by its factor, ``float32 [width]``."""
        return ProductInputs(
            self.rows,
            self.largest / factors,
            self.mean_absolute / factors,
            self.mean_square / factors**2,
            self.sample / factors,
        )


def _least_error_share(sample: Floats, largest: float) -> float:
    """Which share of ``largest`` as the limit of int8 leaves the least squared error; the largest of equals."""
    if largest == 0 or not sample.size:
        return 1.0
    magnitudes = np.abs(sample).ravel()
    errors = []
    for share in SHARES:
        step = np.float32(largest * share / LARGEST)
        errors.append(np.square(np.minimum(np.rint(magnitudes / step), LARGEST) * step - magnitudes).sum())
    return float(SHARES[::-1][int(np.argmin(errors[::-1]))])


@dataclass(frozen=True, eq=False)
class Calibration:
    """Statistics of all products of one fp32 bundle.

    Attributes:
        weights_sha256: of the bundle's weights file: a calibration is of use to no other model.
        texts: how many texts were run.
        tokens: how many tokens they had (of a translation model: source and target tokens).
        seed: of the sample of rows.
        inputs: by the name of the product's weight.
        name: of the texts; None where they have none.
    """

    weights_sha256: str
    texts: int
    tokens: int
    seed: int
    inputs: Mapping[str, ProductInputs]
    name: str | None = None

    def as_measured(self) -> dict[str, Any]:
        """For the manifest's ``measured``: what was calibrated on."""
        return {"text": self.name, "texts": self.texts, "tokens": self.tokens, "seed": self.seed}

    def save(self, path: Path) -> None:
        """Writes an ``.npz`` file; the same calibration gives the same bytes."""
        head: dict[str, Any] = {"weights_sha256": self.weights_sha256, **self.as_measured()}
        head["name"] = head.pop("text")
        head["rows"] = {name: found.rows for name, found in self.inputs.items()}
        arrays = {f"{name}/{field}": getattr(found, field) for name, found in self.inputs.items() for field in FIELDS}
        with path.open("wb") as file:
            np.savez(file, calibration=np.array(json.dumps(head)), **arrays)

    @classmethod
    def load(cls, path: Path) -> Calibration:
        """Reads what `save` wrote.

        Raises:
            InputError: the file is missing or something else.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                head = json.loads(str(file["calibration"]))
                inputs = {
                    name: ProductInputs(rows, *(file[f"{name}/{field}"] for field in FIELDS))
                    for name, rows in head.pop("rows").items()
                }
            return cls(**head, inputs=inputs)
        except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{path}: expected a saved calibration, found another file ({reason})") from None
