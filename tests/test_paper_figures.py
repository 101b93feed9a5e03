"""Differences to the reference, sensitivity, routing: the numbers behind the paper's figures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmark.records import RunStore
from protocols.conditions import at_level
from reports.figures.curves import MOST_CURVES, curve_groups
from reports.figures.landscapes import differences, signed_scale
from reports.figures.sensitivity import sweeps
from reports.figures.style import drawing
from reports.pictures import routing_figures, sensitivity_figures, without_intervals
from reports.routing import contexts, experts, routings
from reports.surface import surfaces
from tests.report_records import LABEL, add, make_spec, make_table, off_by, one, sources

QAMOE = {"topk": 3, "ablation": "none"}


def test_the_difference_is_taken_under_the_same_training(store: RunStore) -> None:
    """MAE .9 minus .5 after clean training, .6 minus .7 after spectrum training, at every cell."""
    for model, clean, spectrum in (("qamoe", 0.5, 0.7), ("alpha", 0.9, 0.6)):
        for regime, error in (("clean", clean), ("spectrum", spectrum)):
            add(store, make_spec(model, regime), make_table(LABEL, off_by(error)))
    found = surfaces(one(store), "mae", "seed_a1", "bernoulli")
    got = {s.label: one.values for s, one in differences(found, "QA-MoE")}
    assert set(got) == {"Alpha · clean", "Alpha · spectrum"}
    np.testing.assert_allclose(got["Alpha · clean"], 0.4, atol=1e-6)
    np.testing.assert_allclose(got["Alpha · spectrum"], -0.1, atol=1e-6)
    scale = signed_scale("mae", differences(found, "QA-MoE"))
    assert scale.filled[0] == -scale.filled[-1]
    assert scale.filled[-1] >= 0.4
    assert (scale.label(0.0), scale.label(-0.2), scale.value(0.4)) == ("0", "−0.2", "+0.400")
    assert differences(found, "nobody") == []
    with drawing():
        jobs = without_intervals(sources(one(store)))
        names = [picture.name for job in jobs for picture, _ in job()]
    assert names == [
        f"figures3-6-{what}-seed-a1-{metric}"
        for metric in ("acc7", "mae")
        for what in ("landscapes", "difference")
    ]


def test_a_sweep_has_the_plain_value_in_its_place(store: RunStore) -> None:
    for topk in (8, 1, 3):
        spec = make_spec("qamoe", "spectrum", config={**QAMOE, "topk": topk})
        add(store, spec, make_table(LABEL, off_by(0.5)))
    spec = make_spec("qamoe", "spectrum", config={**QAMOE, "ablation": "no_gate"})
    add(store, spec, make_table(LABEL, off_by(0.5)))
    results = one(store)
    (sweep,) = sweeps(results)
    assert (sweep.name, list(sweep.systems)) == ("topk", [1.0, 3.0, 8.0])
    assert sweep.systems[3.0] is sweep.plain
    with drawing():
        names = [picture.name for picture, _ in sensitivity_figures(sources(results))]
    assert names == ["figure4-active-experts-seed-a1-qamoe-spectrum"]


def test_two_values_are_no_sweep(store: RunStore) -> None:
    for topk in (3, 1):
        spec = make_spec("qamoe", "spectrum", config={**QAMOE, "topk": topk})
        add(store, spec, make_table(LABEL, off_by(0.5)))
    assert sweeps(one(store)) == []


def routed_table(draws: int = 2):
    """Routing that says where it is from: expert 1 gets λ, expert 2 the draw's tenth."""
    plain = make_table(LABEL, off_by(0.5), draws=draws)
    routing = np.zeros((len(plain.conditions), 3, 3), dtype=np.float32)
    for row, c in enumerate(plain.conditions):
        routing[row, :, 0] = max(c.intensity, 0)
        routing[row, :, 1] = c.draw / 10
        routing[row, :, 2] = 1 - routing[row, :, 0] - routing[row, :, 1]
        routing[row, 1, :] = routing[row, 1, ::-1]
    return replace(plain, routing=routing)


def test_routing_is_read_by_context_and_averaged_over_draws(store: RunStore) -> None:
    add(store, make_spec("qamoe"), routed_table())
    add(store, make_spec("alpha"), make_table(LABEL, off_by(0.5)))
    results = one(store)
    alpha, qamoe = results.systems
    found = routings(results)
    asked = contexts(results.present, "seed_a1")
    assert list(asked)[:4] == ["clean", "noise λ = 0.3", "noise λ = 0.7", "text missing"]
    assert len(found) == 3 * 9 * 3
    clean, noisy = asked["clean"], asked["noise λ = 0.7"]
    assert experts(found, qamoe, clean, "text") == pytest.approx([0, 0, 1], abs=1e-6)
    assert experts(found, qamoe, noisy, "text") == pytest.approx([0.7, 0.05, 0.25], abs=1e-6)
    assert experts(found, qamoe, noisy, "audio") == pytest.approx([0.25, 0.05, 0.7], abs=1e-6)
    assert experts(found, alpha, clean, "text") == []


def test_contexts_of_two_modalities() -> None:
    asked = contexts(("text", "audio"), "seed_a1")
    assert list(asked) == [
        *("clean", "noise λ = 0.3", "noise λ = 0.7", "text missing", "audio missing")
    ]
    assert asked["audio missing"].available == "t"


def test_routing_figure_only_where_routing_was_kept(store: RunStore) -> None:
    add(store, make_spec("qamoe", "spectrum"), routed_table())
    add(store, make_spec("alpha", "spectrum"), make_table(LABEL, off_by(0.5), draws=2))
    table = one(store).systems[1].records[0].table
    assert table.routing[table.row(at_level("seed_a1", 0, 0.0, 7))].sum() == pytest.approx(3)
    with drawing():
        names = [picture.name for picture, _ in routing_figures(sources(one(store)))]
    assert names == ["figure5-routing-seed-a1-qamoe-spectrum"]


def test_many_systems_get_a_figure_for_each_training(store: RunStore) -> None:
    for place in range(MOST_CURVES):
        spec = make_spec(f"model{place}", "clean" if place else "spectrum")
        add(store, spec, make_table(LABEL, off_by(0.5)))
    assert [name for name, _ in curve_groups(one(store))] == [""]
    add(store, make_spec("another"), make_table(LABEL, off_by(0.5)))
    groups = curve_groups(one(store))
    assert {name: len(part.systems) for name, part in groups} == {"clean": 6, "spectrum": 1}
    assert set(groups[1][1].frame["regime"]) == {"spectrum"}
