"""What is worked out once for a data set's results and shared by every part of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from benchmark.questions import KEYS, Question
from benchmark.readouts import questions_in


@dataclass(frozen=True, eq=False)
class Worked:
    """What is worked out once for all parts of a data set's results.

    Attributes:
        frame: every row.
    """

    frame: pd.DataFrame

    @cached_property
    def values(self) -> dict[tuple[str, Question], dict[str, float]]:
        """(run id, question) -> metric -> value: the frame, for looking up single cells."""
        metrics = list(self.frame.columns)[list(self.frame.columns).index(KEYS[-1]) + 1 :]
        keys = zip(self.frame["run_id"], questions_in(self.frame), strict=True)
        rows = self.frame[metrics].to_numpy(dtype=np.float64).tolist()
        found = (dict(zip(metrics, row, strict=True)) for row in rows)
        return dict(zip(keys, found, strict=True))
