"""The audit against brute force, hand-made papers with known faults, and the audit made by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.errors import BenchmarkError
from reports.audit.checks import (
    audit,
    averages,
    best_everywhere,
    counts,
    is_count,
    lowest_f1,
    lowest_f1_at,
    margins,
)
from reports.audit.values import Paper, read
from tests.tiny import benchmark


def weighted_f1(tp: int, fn: int, fp: int, tn: int) -> float:
    total = tp + fn + fp + tn
    positive = 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 0.0
    negative = 2 * tn / (2 * tn + fp + fn) if tn + fp + fn else 0.0
    return ((tp + fn) * positive + (fp + tn) * negative) / total


def test_the_lowest_f1_is_the_lowest_of_every_confusion_table() -> None:
    total = 24
    for hits in range(total + 1):
        found = [
            weighted_f1(tp, fn, total - hits - fn, hits - tp)
            for tp in range(hits + 1)
            for fn in range(total - hits + 1)
        ]
        assert min(found) == pytest.approx(lowest_f1(hits / total), abs=1e-12)


def test_the_lowest_f1_at_a_balance_is_the_lowest_of_its_tables() -> None:
    positive, negative = 9, 15
    for errors in range(25):
        found = [
            weighted_f1(positive - fn, fn, errors - fn, negative - errors + fn)
            for fn in range(min(errors, positive) + 1)
            if errors - fn <= negative
        ]
        accuracy = 1 - errors / 24
        assert lowest_f1_at(accuracy, positive, negative) == pytest.approx(min(found), abs=1e-12)


def test_a_count_is_what_some_number_of_samples_rounds_to() -> None:
    possible = {f"{100 * k / 686:.1f}" for k in range(687)}
    for tenth in range(1001):
        assert is_count(tenth / 10, 686, 1) == (f"{tenth / 10:.1f}" in possible)


def paper(**rows) -> Paper:
    meta = {"reference": "New", "test_sets": {"D": {"counts": {"ACC2": 8}}}}
    return Paper({"_meta": meta, "table1": {"datasets": {"D": rows}}})


def test_an_average_is_recognised_by_what_it_leaves_out() -> None:
    conditions = {"t": 60.0, "a": 50.0, "tav": 80.0}
    for printed, verdict in (
        (55.0, "ok, over the 2 incomplete"),
        (63.3, "ok, over all 3"),
        (60.0, "differs"),
    ):
        values = {k: {"ACC2": v} for k, v in conditions.items()} | {"Avg": {"ACC2": printed}}
        (found,) = averages(paper(New=values))
        assert found.verdict == verdict
        assert found.recomputed == "55.0 over the 2 incomplete, 63.3 over all 3"


def test_a_cut_off_average_is_said_to_be() -> None:
    values = {"t": {"ACC2": 60.0}, "a": {"ACC2": 60.5}, "v": {"ACC2": 60.5}}
    values["Avg"] = {"ACC2": 60.3}  # the mean is 60.333; the next one is 60.366
    assert next(averages(paper(New=values))).verdict == "ok, over all 3"
    values["v"] = {"ACC2": 60.6}
    assert next(averages(paper(New=values))).verdict == "truncated, over all 3"


def test_a_lead_between_different_averages_is_inflated() -> None:
    """67.5 over three against 57.5 over two leads by 10; alike it is 2.5 and 3.3."""
    mine = {"t": {"ACC2": 60.0}, "a": {"ACC2": 60.0}, "tav": {"ACC2": 82.5}}
    other = {"t": {"ACC2": 57.5}, "a": {"ACC2": 57.5}, "tav": {"ACC2": 77.5}}
    mine["Avg"], other["Avg"] = {"ACC2": 67.5}, {"ACC2": 57.5}
    (found,) = margins(paper(Old=other, New=mine))
    assert found.verdict.startswith("inflated")
    assert found.recomputed == "2.5 over the 2 incomplete, 3.3 over all 3"
    other["Avg"] = {"ACC2": 64.2}
    (found,) = margins(paper(Old=other, New=mine))
    assert found.verdict == "ok"


def test_where_the_reference_is_not_best() -> None:
    mine = {"t": {"ACC2": 60.0, "MAE": 0.5}, "a": {"ACC2": 60.0, "MAE": 0.6}}
    other = {"t": {"ACC2": 61.0, "MAE": 0.7}, "a": {"ACC2": 60.0, "MAE": 0.6}}
    (found,) = best_everywhere(paper(Old=other, New=mine))
    assert found.recomputed == "in 3 of 4, 2 of them tied; not in t ACC2 60 against 61"
    assert not found.is_ok


def test_values_that_are_no_counts() -> None:
    (found,) = counts(paper(New={"t": {"ACC2": 62.5}, "a": {"ACC2": 60.0}}))
    assert found.recomputed.startswith("1 of 2 are not (60.0)")


def test_the_seed_paper_as_it_was_audited_by_hand() -> None:
    found = {(f.where, f.claim): f for f in audit(read("qa_moe"))}

    def verdict(where: str, part: str) -> str:
        (one,) = [f.verdict for (w, claim), f in found.items() if w == where and part in claim]
        return one

    assert verdict("Table 2", "CMU-MOSI, QA-MoE: average ACC2") == "ok, over all 7"
    assert verdict("Table 2", "CMU-MOSI, MoMKE: average F1") == "ok, over the 6 incomplete"
    assert verdict("Table 2", "CMU-MOSI, MMIN: average ACC2") == "differs"
    assert verdict("Table 2", "IEMOCAP, MISA: average ACC ") == "truncated, over all 7"
    assert verdict("Table 2", "IEMOCAP, MMIM: average F1") == "truncated, over all 7"
    assert verdict("Table 3", "CMU-MOSI, MMIN: average ACC7") == "differs"
    inflated = [key for key, f in found.items() if f.verdict.startswith("inflated")]
    assert len(inflated) == 4
    lead = found["Table 2", "CMU-MOSI: lead in average ACC2 over MoMKE, 2.74"]
    assert lead.recomputed == "0.74 over the 6 incomplete, 0.92 over all 7"
    impossible = [key for key, f in found.items() if f.verdict == "impossible"]
    assert [where for where, _ in impossible] == ["Table 6", "Table 9"]
    assert "42.45" in found[impossible[1]].recomputed
    assert verdict("Sec. 4.3.1", "QA-MoE drops less").startswith("misleading")
    assert verdict("Table 5, 8", "near the grid's mean") == "contradiction"
    assert "5 of 56" in found["Table 8", "graceful degradation, ACC7 only falls"].recomputed
    assert all(
        f.is_ok for (where, claim), f in found.items() if where == "Table 4" and "average" in claim
    )


def test_a_paper_of_ones_own_and_mistakes(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "_meta:\n  short: my paper\n  reference: New\n  claims:\n"
        "    - {where: text, claim: doubled, quotient: [8, 4], printed: 2}\n"
        "    - {where: text, claim: equal, same: [table1/D/New/t, table1/D/New/a]}\n"
        "table1: {datasets: {D: {New: {t: {ACC: 50.0}, a: {ACC: 60.0}}}}}\n"
    )
    done = benchmark("audit", mine)
    assert done.returncode == 0, done.stderr
    line = "my paper: 2 claims recomputed: 1 stand, 1 do not; --all lists them"
    assert done.stdout.splitlines() == [line]
    assert "contradiction" in benchmark("audit", mine, "--all").stdout
    # BERT-base has 109.5 M parameters and needs 4.29 G multiply-adds for 50 tokens (12 layers of
    # 4 * 768² + 2 * 768 * 3072 for each token, and 2 * 50² * 768 for attention).
    for row, verdict in (
        ("{gflops_per_sample: 4.4, params_active_M: 38}", "encoder runs"),
        ("{gflops_per_sample: 4.4, params_active_M: 110}", "ok"),
        ("{gflops_per_sample: 40, params_active_M: 38}", "ok"),
    ):
        mine.write_text(
            "_meta:\n  claims:\n    - {where: t, claim: c, without_bert: table9/New, tokens: 50, "
            f"otherwise: encoder runs}}\ntable9: {{models: {{New: {row}}}}}\n"
        )
        (found,) = (one for one in audit(read(str(mine))) if one.claim == "c")
        assert found.verdict == verdict
        assert "4.29 G multiply-adds" in found.recomputed
    mine.write_text("_meta: {claims: [{where: x, claim: y, same: [table1/nobody, table1]}]}\n")
    with pytest.raises(BenchmarkError, match="no 'table1'"):
        audit(read(str(mine)))
    mine.write_text("_meta: {claims: [{where: x, claim: y}]}\n")
    with pytest.raises(BenchmarkError, match="none of the kinds"):
        audit(read(str(mine)))
    with pytest.raises(BenchmarkError, match=r"unknown paper 'qa_mo'.*qa_moe"):
        read("qa_mo")
    with pytest.raises(BenchmarkError, match="cannot read"):
        read(str(tmp_path / "none.yaml"))
