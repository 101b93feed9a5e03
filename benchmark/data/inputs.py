"""New samples as a trained model takes them: what the data set's import did, without the data set.

The record of a run keeps :class:`InputForm` as ``inputs.json``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.data import columns
from benchmark.data.dataset import Dataset
from benchmark.data.package import RawSplit
from benchmark.data.scan import Scan, as_float32, fill_missing_spans, scan_modality
from benchmark.data.schema import KNOWN_KEYS, LENGTH_KEYS, PLAIN_LABELS, meant_by
from benchmark.data.standardise import Scale, fill_nonfinite
from benchmark.errors import BenchmarkError, unknown
from benchmark.hygiene import one_line
from benchmark.interface import DataSpec
from benchmark.seal import sealed_json, unsealed_json
from protocols.modalities import MODALITIES, Modalities, Modality

FAR = 1e6
"""Standard deviations (text: units of its encoder) beyond which features are refused."""
INPUT_KEYS = {*KNOWN_KEYS, PLAIN_LABELS, "split", "annotations", "text_bert"}
"""What a package of features may hold; the field's packages have more than a model reads."""
UNKNOWN_HINT = "Rename it, or leave it out."


@dataclass(frozen=True)
class InputForm:
    """What the inputs of a run must look like, and what standardises them.

    Attributes:
        spec: widths, lengths, present modalities and task.
        scales: modality -> the train statistics of its channels; text has none.
        class_names: the classes' names by number, where the data set names them.
    """

    spec: DataSpec
    scales: Mapping[Modality, Scale]
    class_names: tuple[str, ...] = ()

    @staticmethod
    def of(dataset: Dataset) -> InputForm:
        """The form of a data set's samples."""
        return InputForm(dataset.spec, dataset.scales, dataset.class_names)

    def to_json(self) -> str:
        """The content of ``inputs.json``."""
        scales = {
            m: {
                "mean": scale.mean.tolist(),
                "std": scale.std.tolist(),
                "constant": np.flatnonzero(scale.constant).tolist(),
            }
            for m, scale in self.scales.items()
        }
        values = {**asdict(self.spec), "scales": scales, "class_names": self.class_names}
        return sealed_json(values)

    @staticmethod
    def from_json(text: str) -> InputForm:
        """The inverse of :meth:`to_json`. Raises ValueError, KeyError or TypeError."""
        values = unsealed_json(text)
        scales = {
            m: Scale.from_lists(scale["mean"], scale["std"], scale["constant"])
            for m, scale in values.pop("scales").items()
        }
        names = tuple(values.pop("class_names"))
        return InputForm(DataSpec(**{**values, "present": tuple(values["present"])}), scales, names)

    def samples(
        self,
        features: Mapping[str, Any],
        lengths: Mapping[str, Any] | None = None,
        ids: Sequence[str] | None = None,
        where: str = "the features",
    ) -> tuple[tuple[str, ...], Modalities]:
        """Check, pad and standardise new samples.

        A modality that is absent, None, or all zero for a sample is missing for it.

        Args:
            features: modality -> (N, T, d_m) raw features, with T up to the run's T_m.
            lengths: modality -> (N,) numbers of real steps; without them padding is what is zero.
            ids: N ids; numbers from 0 by default.
            where: what the features are, for messages.

        Returns:
            The N ids, and the samples.

        Raises:
            BenchmarkError: where a shape does not fit or there are no features.
        """
        raw = self._raw(features, lengths or {}, ids, where)
        scans = {m: scan_modality(raw, m, f"{where}: {m}")[0] for m in self.spec.present}
        fill_missing_spans(scans)
        count = len(raw.ids)
        values: dict[Modality, torch.Tensor] = {}
        masks: dict[Modality, torch.Tensor] = {}
        available = np.zeros((count, len(MODALITIES)), dtype=bool)
        for position, m in enumerate(MODALITIES):
            if m not in scans:
                values[m] = torch.zeros(count, 1, 1)
                masks[m] = torch.zeros(count, 1, dtype=torch.bool)
                continue
            standard = self._standardised(raw.features[m], scans[m], m)
            _refuse_far(standard, raw.ids, f"{where}: {m}")
            values[m] = torch.from_numpy(standard)
            masks[m] = torch.from_numpy(scans[m].mask)
            available[:, position] = scans[m].available
        return raw.ids, Modalities(values, masks, torch.from_numpy(available))

    def _refuse_unknown(self, features: Mapping[str, Any], where: str) -> None:
        """A misspelt modality would be taken for a missing one."""
        for key in features:
            if key in INPUT_KEYS:
                continue
            other = meant_by(key)
            if other:
                raise BenchmarkError(f"{where}: unknown key '{key}'. Did you mean {other}?")
            raise unknown(f"key in {where}", columns.shown(key), self.spec.present, UNKNOWN_HINT)

    def _standardised(
        self, values: NDArray[np.float32], scan: Scan, m: Modality
    ) -> NDArray[np.float32]:
        if m in self.scales:
            self.scales[m].apply(values, scan.keep)
        else:
            fill_nonfinite(values)
            values[~scan.keep] = 0
        return values

    def _raw(
        self,
        features: Mapping[str, Any],
        lengths: Mapping[str, Any],
        ids: Sequence[str] | None,
        where: str,
    ) -> RawSplit:
        self._refuse_unknown(features, where)
        given = {m: features[m] for m in MODALITIES if features.get(m) is not None}
        arrays = {m: columns.features(np.asarray(x), f"{where}: {m}") for m, x in given.items()}
        unknown = [m for m in arrays if m not in self.spec.present]
        if unknown or not arrays:
            raise BenchmarkError(
                f"{where}: {'has ' + ', '.join(unknown) if unknown else 'no features'}; this run "
                f"was trained on {', '.join(self.spec.present)}, any of which may be missing"
            )
        sizes: dict[str, int] = {m: len(x) for m, x in arrays.items()}
        if ids is not None:
            sizes["id"] = len(ids)
        if len(set(sizes.values())) > 1:
            shown = ", ".join(f"{name} has {size}" for name, size in sizes.items())
            raise BenchmarkError(f"{where}: the numbers of samples differ: {shown}")
        count = next(iter(sizes.values()))
        if not count:
            raise BenchmarkError(f"{where}: has no samples")
        names = tuple(str(i) for i in range(count)) if ids is None else tuple(map(str, ids))
        padded = {m: self._padded(arrays.get(m), count, m, where) for m in self.spec.present}
        stated = {
            m: columns.lengths(lengths[m], names, x.shape[1], f"{where}: {LENGTH_KEYS[m]}")
            for m, x in padded.items()
            if lengths.get(m) is not None
        }
        return RawSplit(names, ("",) * count, padded, stated, np.zeros(count))

    def _padded(
        self, values: NDArray[Any] | None, count: int, m: Modality, where: str
    ) -> NDArray[np.float32]:
        """A copy of (N, T, d) values with T_m steps, zeros behind; all zeros for None."""
        steps, width = self.spec.lengths[m], self.spec.widths[m]
        result = np.zeros((count, steps, width), dtype=np.float32)
        if values is None:
            return result
        if values.shape[1] > steps or values.shape[2] != width:
            raise BenchmarkError(
                f"{where}: {m} is (N, {values.shape[1]}, {values.shape[2]}); this run was trained "
                f"on up to {steps} steps of {width} channels"
            )
        result[:, : values.shape[1]] = as_float32(values)
        return result


def _refuse_far(values: NDArray[np.float32], ids: Sequence[str], where: str) -> None:
    """Values so far from all training data that an answer would be noise, or no number."""
    largest = np.abs(values).max(axis=(1, 2))
    if largest.max() > FAR:
        row = int(largest.argmax())
        raise BenchmarkError(
            f"{where}: row {row} (id {one_line(ids[row], 60)!r}) reaches {largest[row]:.1e} after"
            f" standardisation, and more than {FAR:g} is nothing that a model was trained on. Are"
            " these the features that the run's data set has?"
        )


def split_columns(data: Any, split: str | None, where: str) -> list[dict[str, Any]]:
    """The columns of each split in a file of features, or of the file where it has no splits.

    Args:
        data: a package, with or without labels, or the columns of one split.
        split: the only split to take.
        where: the file, for messages.

    Returns:
        For each split its columns and, where there are splits, its name as "split".

    Raises:
        BenchmarkError: where the split is not there.
    """
    if not isinstance(data, Mapping):
        raise BenchmarkError(
            f"{where}: holds a {type(data).__name__}, not a dict of {', '.join(MODALITIES)}"
        )
    found = {name: value for name, value in data.items() if isinstance(value, Mapping)}
    if split is not None and split not in found:
        known = columns.printable(found) if found else "none"
        raise BenchmarkError(f"{where}: has no split '{split}' (splits: {known})")
    if not found:
        return [cast("dict[str, Any]", dict(data))]
    return [{**found[name], "split": name} for name in ([split] if split else found)]
