"""Which runs may stand in one report: those on one content, and in one system those of one code.

And which published numbers are like for like with them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from benchmark.data.cards import known_cards, unlike
from benchmark.errors import BenchmarkError
from benchmark.records import RunRecord
from benchmark.records.reader import INPUTS, read_json


def require_one_content(name: str, records: Sequence[RunRecord]) -> None:
    """Runs are compared sample by sample: they must have seen the same data.

    Raises:
        BenchmarkError: where they have not.
    """
    runs: dict[str, list[str]] = defaultdict(list)
    for record in records:
        runs[record.spec.data_sha256].append(record.run_id)
    if len(runs) > 1:
        listing = "\n".join(f"  data {k[:12]}: {', '.join(v)}" for k, v in sorted(runs.items()))
        raise BenchmarkError(
            f"the runs on '{name}' were made on {len(runs)} different contents of that name and "
            f"cannot be averaged or compared:\n{listing}\nMove the runs on the content that you "
            "do not mean out of the runs folder, or import it under another name and run again."
        )
    first = records[0].table
    for record in records[1:]:
        table = record.table
        same = table.sample_ids == first.sample_ids and np.array_equal(table.label, first.label)
        if not same:
            raise BenchmarkError(
                f"runs {records[0].run_id} and {record.run_id} name the same data but have "
                "different test samples; one of the records was changed. Delete it and run again."
            )


def like_for_like(dataset: str, record: RunRecord) -> str:
    """Whether numbers that are published for a data set compare with a run on it, in a sentence.

    They do where its data card's test split and the widths that the paper states are the run's. ""
    where nothing is known of either.
    """
    card = known_cards().get(dataset.lower())
    if card is None or not (record.path / INPUTS).exists():
        return ""
    form = read_json(record.path / INPUTS)
    widths = {m: form["widths"][m] for m in form["present"]}
    reasons = unlike(card, widths, {"test": len(record.table.sample_ids)})
    if reasons:
        return f"Not like for like: {'; '.join(reasons)}."
    return "Like for like: the features are as wide as the paper's." if card.stated else ""


def require_one_source(label: str, records: Sequence[RunRecord]) -> None:
    """A model whose card has no version is one model only while its source file is the same.

    Raises:
        BenchmarkError: where the runs were trained with different source files.
    """
    runs: dict[str, list[str]] = defaultdict(list)
    for record in records:
        facts = record.environment["model"]
        if facts["version"] is None:
            runs[facts["source_sha256"]].append(record.run_id)
    if len(runs) > 1:
        listing = "; ".join(f"{sha[:12]}: {', '.join(ids)}" for sha, ids in sorted(runs.items()))
        raise BenchmarkError(
            f"the runs of '{label}' were trained with different contents of the file that defines "
            f"the model, whose card has no version, so they are no seeds of one system ({listing}):"
            " delete the runs that you do not mean, and give the card a version"
        )
