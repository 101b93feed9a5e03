"""Seen and unseen families, and the audit of reliability scores, on tables made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from benchmark.diagnostics.kept import path_of, write
from benchmark.readouts import values
from benchmark.records import RunRecord, RunStore
from benchmark.table import PredictionTable
from protocols.modalities import MODALITIES
from protocols.regimes import Regime
from reports.families import clean_trained, family_questions, held_out, split_of
from reports.frame import frame
from reports.reliability.audit import audit, conditions
from reports.reliability.audit_table import audit_tables
from reports.results import Results, load
from reports.sources import Sources
from reports.tables.families import family_tables
from reports.tables.grid import grid_tables
from reports.tables.table import Cell, Table
from reports.views import DETECTED, HEAD_ROOM, PERMUTED
from reports.write import TABLE_MAKERS
from tests.records import make_record, make_table

RULES = ("seed_a1", "frames", "impulse")
MET = Regime(kind="spectrum", noise_rules=("frames", "impulse"))
N = 60


def table_off_by(seed: int, by_rule: dict[str, float]) -> PredictionTable:
    """Predictions off by a constant under each family, with a little noise by seed."""
    made = make_table(n=N, noise_rules=RULES, draws=2)
    off = np.array(
        [by_rule.get(c.noise_rule, 0.2) * (c.noise_rule != "none") for c in made.conditions]
    )
    noise = np.random.default_rng(seed).normal(scale=0.01, size=made.prediction.shape)
    made.prediction[:] = made.label + 0.5 + off[:, None] + noise
    return made


@pytest.fixture
def results(store: RunStore) -> Results:
    worse = {"seed_a1": 1.0, "frames": 1.0, "impulse": 1.0}
    better = {"seed_a1": 0.9, "frames": 0.3, "impulse": 0.5}
    for seed in range(3):
        make_record(store, seed=seed, table=table_off_by(seed, worse))
        make_record(store, regime=MET, seed=seed, table=table_off_by(10 + seed, better))
    return load(store)[0]


def found(table: Table, label: str, section: str, *title: str) -> Cell:
    (row,) = [r for r in table.rows if r.label.startswith(label) and section in r.section]
    (place,) = [
        i for i, c in enumerate(table.columns) if (c.title, c.group) == (title[0], title[1])
    ]
    return row.cells[place]


def test_what_a_training_has_seen(results: Results) -> None:
    clean, spectrum = results.systems
    assert split_of(results, clean).seen == ()
    assert split_of(results, spectrum).seen == ("frames", "impulse")
    assert split_of(results, spectrum).unseen == ("seed_a1",)
    assert held_out(results) == [spectrum]
    assert clean_trained(results, spectrum) is clean


def test_gains_are_over_clean_training_family_by_family(results: Results) -> None:
    (table,) = family_tables(Sources.of(results))
    label = results.systems[1].label
    mean = ("seen", "Mean"), ("unseen", "Mean")
    gain = ("seen", "Gain over clean training"), ("unseen", "Gain over clean training")
    for title, wanted in zip((*mean, *gain), (0.9, 1.4, 0.6, 0.1), strict=True):
        assert found(table, label, "MAE", *title).value == pytest.approx(wanted, abs=0.01)
    low, high = found(table, label, "MAE", *gain[0]).interval or (0, 0)
    assert 0 < low < 0.6 < high
    assert found(table, label, "MAE", "frames", "Family").flag == "•"
    assert found(table, label, "MAE", "seed_a1", "Family").flag == ""
    assert any("does: seed_a1: text." in text for text in table.caption)  # by frames too
    exact = [
        values(r.table, "mae", family_questions(results, "impulse")).mean()
        for r in results.systems[1].records
    ]
    assert found(table, label, "MAE", "impulse", "Family").value == pytest.approx(np.mean(exact))
    clean = results.systems[0].label
    assert found(table, clean, "MAE", *mean[0]).text == "–"
    assert found(table, clean, "MAE", *gain[1]).text == "–"


def test_of_several_families_every_title_says_which_it_is_about(results: Results) -> None:
    everything = Sources.of(results)
    titles = [table.title for make in (*TABLE_MAKERS, grid_tables) for table in make(everything)]
    assert len([title for title in titles if title.endswith(" (frames)")]) >= 8
    assert len(set(titles)) == len(titles)


def test_without_a_held_out_family_there_is_no_table(store: RunStore) -> None:
    make_record(store, table=make_table(noise_rules=RULES))
    (results,) = load(store)
    assert family_tables(Sources.of(results)) == []


def give_scores(store: RunStore, record: RunRecord, shift: float, best: float) -> None:
    """A diagnostic in which permuted scores cost ``shift``, and fixed weights win ``best``."""
    table = record.table
    asked = [c for c in table.conditions if not c.joint]
    own = table.prediction[[table.row(c) for c in asked]]
    arrays = {
        "noise_rule": np.array([c.noise_rule for c in asked]),
        "draw": np.array([c.draw for c in asked]),
        "intensity": np.array([c.intensity for c in asked]),
        "mask": np.array([c.mask for c in asked]),
        "permuted": np.stack([own + s for s in (shift - 0.1, shift + 0.1)]),
        "fixed": own - np.float32(best),
        "weights": np.zeros((len(asked), 3), dtype=np.float32),
    }
    write(path_of(store.root, record.run_id, "reliability"), record.run_id, arrays)


def test_given_scores_are_judged_on_the_grid_against_the_own_ones(
    store: RunStore, results: Results
) -> None:
    for system, (shift, best) in zip(results.systems, ((0.4, 0.0), (0.0, 0.2)), strict=True):
        for record in system.records:
            give_scores(store, record, shift, best)
    known = audit(results)
    clean, spectrum = results.systems
    (asked,) = conditions(results, "frames")
    assert len(asked) == 64

    def said(system, quantity):
        (one,) = [
            a for k, a in known.items() if k[:3] == (system.key, asked, "mae") and k[3] == quantity
        ]
        return one

    assert said(clean, PERMUTED).value == pytest.approx(0.4, abs=1e-3)
    assert said(clean, PERMUTED).verdict == "supported"
    assert said(clean, HEAD_ROOM).value == pytest.approx(0, abs=1e-6)
    assert said(clean, HEAD_ROOM).verdict == "undecided"
    assert said(spectrum, HEAD_ROOM).value == pytest.approx(0.2, abs=1e-3)
    (table,) = audit_tables(Sources.of(results))
    words = {(r.section, r.label): r.cells[1].text for r in table.rows}
    assert words[clean.label, "matters: MAE, permuted scores (frames, grid)"] == (
        "worse with another's scores"
    )
    assert words[clean.label, "head room: MAE, fixed weights (frames, grid)"] == (
        "no difference is shown"
    )
    assert words[spectrum.label, "head room: MAE, fixed weights (impulse, grid)"] == (
        "fixed weights are better"
    )
    assert words[clean.label, "gate on − off: MAE (seed_a1, grid)"] == "not measured"
    assert (clean.label, "notices frames (unseen): ρ(r_t, λ)") in words
    assert (spectrum.label, "notices frames (seen): ρ(r_t, λ)") in words
    assert (spectrum.label, "notices seed_a1 (seen): ρ(r_t, λ)") in words  # as frames do to text
    assert (spectrum.label, "notices seed_a1 (unseen): ρ(r_a, λ)") in words
    impulses = {label for section, label in words if section == clean.label and "impulse" in label}
    assert {x for x in impulses if "notices" in x and "r_t" in x} == set()  # they spare text
    assert sum("notices" in label for label in impulses) == 2 * 2
    kept = frame(Sources.of(results))
    assert len(kept[kept["quantity"] == HEAD_ROOM]) == 2 * len(RULES)


def test_noise_is_detected_by_scores_that_fall(results: Results) -> None:
    """The AUROC of every pair of a clean and a noisy score, by hand."""
    known = audit(results)
    (system, *_) = results.systems
    one = [a for k, a in known.items() if k.subject == system.key and k.quantity == DETECTED]
    assert len(one) == len(RULES) * len(MODALITIES) - 1  # impulses spare text
    by_hand = []
    for record in system.records:
        table = record.table
        assert table.reliability is not None
        row = {
            (c.noise_rule, c.draw, c.intensity, c.mask): r for r, c in enumerate(table.conditions)
        }
        clean = table.reliability[row["none", 0, 0.0, 7], :, 1]
        pairs: Sequence[float] = [
            float(np.mean([(noisy < c) + 0.5 * (noisy == c) for c in clean]))
            for draw in range(2)
            for noisy in [table.reliability[row["frames", draw, 0.7, 7], :, 1]]
        ]
        by_hand.append(np.mean(pairs))
    (key,) = [
        k
        for k in known
        if k.subject == system.key
        and k.metric == "r_audio"
        and k.quantity == DETECTED
        and k.asked[0].noise_rule == "frames"
    ]
    assert known[key].value == pytest.approx(np.mean(by_hand))


def test_a_diagnostic_of_other_rows_is_not_read(store: RunStore, results: Results) -> None:
    system = results.systems[0]
    record = system.records[0]
    few = replace(record.table)
    assert few.conditions
    give_scores(store, record, 0.4, 0.0)
    path = path_of(store.root, record.run_id, "reliability")
    arrays = {k: v for k, v in np.load(path).items() if k not in ("sha256", "about", "run_id")}
    only = arrays["noise_rule"] != "impulse"
    short = {k: v[:, only] if k == "permuted" else v[only] for k, v in arrays.items()}
    write(path, record.run_id, short)
    known = audit(results)
    rules = {k.asked[-1].noise_rule for k in known if k.quantity == PERMUTED}
    assert rules == {"seed_a1", "frames"}
