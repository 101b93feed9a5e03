"""Published numbers stand like for like only where features and test split are the paper's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmark.data.cards import known_cards, unlike
from benchmark.records import RunStore
from benchmark.seal import sealed
from reports.captions import published_sentences
from reports.comparable import like_for_like
from reports.results import load
from tests.records import make_run_spec, make_table
from tests.report_records import add


@pytest.mark.parametrize(
    ("widths", "test", "words"),
    [
        ((768, 74, 35), 686, []),
        ((768, 5, 20), 686, ["768/5/20", "768/74/35"]),
        ((768, 74, None), 686, ["768/74/–"]),
        ((768, 74, 35), 36, ["test has 36 samples, CMU-MOSI's 686"]),
    ],
)
def test_what_differs_is_named(widths: tuple[int, ...], test: int, words: list[str]) -> None:
    names = ("text", "audio", "vision")
    known = {m: d for m, d in zip(names, widths, strict=True) if d is not None}
    reasons = unlike(known_cards()["mosi"], known, {"test": test})  # type: ignore[arg-type]
    assert len(reasons) == (1 if words else 0)
    for word in words:
        assert word in reasons[0]


def test_a_report_says_so(store: RunStore, tmp_path: Path) -> None:
    for dataset in ("mosi", "mosi-like", "mintrec2"):
        spec = make_run_spec(dataset=dataset, seed=len(dataset))
        add(store, spec, make_table())
        (results,) = load(store, dataset)
        (record,) = results.records
        form = {"widths": {"text": 768, "audio": 5, "vision": 20}, "present": list(results.present)}
        (record.path / "inputs.json").write_text(json.dumps(sealed(form)))
        said = " ".join(published_sentences(results, "Table 2"))
        if dataset == "mosi":
            assert "Not like for like: test has" in said
            assert "768/5/20 wide, the paper's 768/74/35" in said
        else:
            assert "like for like" not in said
            assert like_for_like(dataset, record) == ""
