"""Differences to the reference, sensitivity, routing: the numbers behind the paper's figures."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from benchmark.errors import BenchmarkError
from benchmark.records import RunStore
from protocols.conditions import at_level
from reports.figures.curves import MOST_CURVES, curve_groups
from reports.figures.glance import glance_of
from reports.figures.landscapes import combined_figure
from reports.figures.layout import new_figure, whole_words
from reports.figures.look import Look, width_of
from reports.figures.scale import common_scale, differences, signed_scale
from reports.figures.sensitivity import sweeps
from reports.figures.style import drawing
from reports.figures.triangle import uneven_figure
from reports.pictures import (
    degradation_figures,
    glance_figures,
    landscape_figures,
    routing_figures,
    sensitivity_figures,
    with_intervals,
    without_intervals,
)
from reports.reliability.figure import _scores_axis
from reports.routing import contexts, experts, routings
from reports.sources import Sources
from reports.surface import surfaces
from reports.web.page import Picture
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
    assert names[:4] == [
        f"figures3-6-{what}-seed-a1-{metric}"
        for metric in ("mae", "acc7")  # the one that selects leads
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
    assert experts(found, qamoe, clean, "text", 1) == pytest.approx([0, 0, 1], abs=1e-6)
    assert experts(found, qamoe, noisy, "text", 1) == pytest.approx([0.7, 0.05, 0.25], abs=1e-6)
    assert experts(found, qamoe, noisy, "audio", 1) == pytest.approx([0.25, 0.05, 0.7], abs=1e-6)
    assert experts(found, alpha, clean, "text", 1) == []


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


def few(store: RunStore, count: int = 10) -> Sources:
    """So many models; each is off by a tenth more than the one before."""
    for place in range(count):
        name = f"model{place}" if place else "qamoe"
        facts = {"floors": {"mean": 0.2, "median": 0.1}}
        add(store, make_spec(name), make_table(LABEL, off_by(0.3 + 0.1 * place)), **facts)
    return sources(one(store))


def drawn_with(
    everything: Sources, look: Look, *wanted: Callable[..., object]
) -> dict[str, tuple[Picture, Figure]]:
    """Each figure of a report, or of the jobs that are named, by its name."""
    with drawing(look.width):
        jobs = [*without_intervals(everything, look), *with_intervals(everything, look)]
        chosen = [job for job in jobs if not wanted or job.func in wanted]
        return {p.name: (p, figure) for job in chosen for p, figure in job()}


@pytest.mark.parametrize("width", ["column", "text", "4.5"])
def test_a_figure_for_a_width_has_it_and_no_small_letters(store: RunStore, width: str) -> None:
    add(store, make_spec("qamoe", "spectrum"), routed_table())
    look = Look(width_of(width), titles=False)
    found = drawn_with(few(store, 5), look)
    assert {name.partition("-")[0] for name in found} >= {"figures3", "degradation", "figure5"}
    for name, (_, figure) in found.items():
        assert figure.get_figwidth() == look.width
        texts = [text for text in figure.findobj(Text) if text.get_text().strip()]
        assert min(text.get_fontsize() for text in texts) >= 7, name
        with drawing(look.width):
            figure.canvas.draw()
        for text in texts:
            if text.get_visible() and text.get_clip_box() is None:
                box = text.get_window_extent()
                room = 0.02 * figure.dpi
                assert box.x0 >= -room, (name, text.get_text())
                assert box.x1 <= figure.bbox.x1 + room, (name, text.get_text())


@pytest.mark.parametrize("width", [None, 6.3, 3.03])
def test_a_colour_bar_of_long_numbers_stays_on_the_sheet(
    store: RunStore, width: float | None
) -> None:
    results, look = few(store, 4).results, Look(width)
    found = [
        (system, replace(at, values=20.3 + 17 * (at.values - at.values.min()) + 5 * place))
        for place, (system, at) in enumerate(surfaces(results, "mae", "seed_a1", "bernoulli"))
    ]
    with drawing(width):
        scale = common_scale("acc7", found, [])
        assert "22.5" in map(scale.label, scale.lines)
        figure = combined_figure(results, found, scale, look=look)
        figure.canvas.draw()
        named = [t for t in figure.findobj(Text) if t.get_text() == scale.shown.unit]
        assert named
        assert all(t.get_window_extent().x1 <= figure.bbox.x1 for t in named)


@pytest.mark.parametrize("width", [None, 6.3, 3.03])
def test_nothing_written_on_triangles_lies_on_another_or_leaves_the_sheet(
    store: RunStore, width: float | None
) -> None:
    names = ("MM-Boosting (reconstruction)", "MMA-lite (reconstruction)", "EMOE", "QA-MoE")
    for place, name in enumerate((*names, "PaSE (reconstruction)")):
        table = make_table(LABEL, off_by(0.42 + 0.001 * place))  # the bar has long numbers
        add(store, make_spec(name, "spectrum"), table)
    with drawing(width):
        figure = uneven_figure(one(store), "mae", look=Look(width))
        assert figure is not None
        figure.canvas.draw()
        texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
        boxes = {t.get_text(): t.get_window_extent() for t in texts}
        long = [name for name in boxes if "(reconstruction)" in name]
        assert long
        for name in long:
            assert not [o for o, box in boxes.items() if o != name and boxes[name].overlaps(box)]
        assert max(box.x1 for box in boxes.values()) <= figure.bbox.x1


def test_names_of_neighbouring_axes_do_not_touch(store: RunStore) -> None:
    everything = few(store, 4)
    for width in (None, 6.3, 3.03):
        found = drawn_with(everything, Look(width), landscape_figures)
        _, figure = found["figures3-6-landscapes-seed-a1-mae"]
        figure.canvas.draw()
        ticks = [t for t in figure.findobj(Text) if re.fullmatch(r"0(\.\d)?", t.get_text())]
        boxes = [t.get_window_extent() for t in ticks if t.get_va() == "top"]
        clear = 0.03 * figure.dpi
        for place, box in enumerate(boxes):
            wide = Bbox.from_extents(box.x0 - clear, box.y0, box.x1 + clear, box.y1)
            beside = [one for one in boxes[place + 1 :] if abs(one.y0 - box.y0) < 1]
            assert not any(wide.overlaps(other) for other in beside)


def test_the_best_are_known_without_every_answer(store: RunStore) -> None:
    """Landscapes are drawn in processes of their own: each would work out all of a report."""
    everything = few(store, 10)
    with drawing():
        pictures = [p for job in without_intervals(everything, Look()) for p, _ in job()]
    assert any("8 of 10 systems" in picture.caption[0] for picture in pictures)
    assert "rows" not in vars(everything.answers)
    grid, answers = everything.results.overview[-1].questions, everything.answers
    for system in everything.results.systems:
        whole = answers.get(system, grid, "mae")
        assert whole is not None
        assert answers.measured.mean(system, grid, "mae") == pytest.approx(whole.value, rel=1e-12)


def test_a_word_of_a_name_is_never_broken() -> None:
    found = whole_words("MMA-lite (reconstruction) · clean", 9)
    assert found == ["MMA-lite", "(reconstruction)", "· clean"]
    setting = whole_words("QA-MoE · spectrum (uncertainty_head=reads_variance)", 24)
    assert setting == ["QA-MoE · spectrum", "(uncertainty_head=", "reads_variance)"]


def test_the_best_are_shown_or_those_that_are_named(store: RunStore) -> None:
    everything = few(store, 10)
    picture, figure = drawn_with(everything, Look(), landscape_figures)[
        "figures3-6-landscapes-seed-a1-mae"
    ]
    assert "8 of 10 systems" in picture.caption[0]
    texts = {text.get_text() for text in figure.findobj(Text)}
    assert {"QA-MoE · clean", "model7 · clean"} <= texts  # off by the least
    assert not {"model8 · clean", "model9 · clean"} & texts
    named = drawn_with(everything, Look(models=("MODEL9", "qamoe"), metrics=("Corr",)))
    picture, figure = named["figures3-6-landscapes-seed-a1-corr"]
    texts = {text.get_text() for text in figure.findobj(Text)}
    assert {t for t in texts if t.endswith("clean")} == {"QA-MoE · clean", "model9 · clean"}
    assert not any("mae" in name for name in named)
    with pytest.raises(BenchmarkError, match=r"unknown model 'mdel9'.*model9"):
        drawn_with(everything, Look(models=("mdel9",)))
    with pytest.raises(BenchmarkError, match="unknown metric 'accuracy'"):
        drawn_with(everything, Look(metrics=("accuracy",)))


def test_the_glance_names_who_is_ahead_where(store: RunStore) -> None:
    """Alpha is the best on clean input and loses most; Beta is the best over the grid."""
    steep = make_table(LABEL, lambda c, y: y + 0.1 + 9 * off_by(0.0)(c, 0 * y))
    add(store, make_spec("alpha"), steep)
    for model, error in (("beta", 0.2), ("qamoe", 0.3)):
        add(store, make_spec(model), make_table(LABEL, off_by(error)))
    results = one(store)
    found = glance_of(sources(results).answers, results.systems, "mae")
    assert found is not None
    assert (found.clean.title, found.grid.title) == ("Alpha", "Beta")
    assert "Ahead on clean input: Alpha · clean, place 3 of 3 over the grid" in found.finding
    # 0.1 more for each missing modality, 0.105 on average over η from 0 to 0.7.
    assert found.ends[found.grid] == pytest.approx((0.2, 0.305), abs=1e-6)


def test_a_glance_shows_a_system_once(store: RunStore) -> None:
    add(store, make_spec("qamoe"), make_table(LABEL, off_by(0.1)))
    add(store, make_spec("beta"), make_table(LABEL, lambda c, y: y + 0.5))
    _, figure = drawn_with(sources(one(store)), Look(), glance_figures)["at-a-glance"]
    texts = " ".join(text.get_text().replace("\n", " ") for text in figure.findobj(Text))
    assert "best on clean input and over the grid: QA-MoE" in texts
    assert "loses most" not in texts


def test_curves_stay_where_they_were_measured(store: RunStore) -> None:
    _, figure = drawn_with(few(store, 5), Look(), degradation_figures)["degradation-seed-a1"]
    lines = [line for axis in figure.axes for line in axis.lines if len(line.get_xdata()) == 8]
    assert len(lines) == 5 * 4
    for line in lines:
        np.testing.assert_allclose(np.asarray(line.get_xdata(), float), np.arange(8) / 10)


def test_scores_have_the_axis_that_they_need() -> None:
    with drawing():
        axis = new_figure(3, 3).add_subplot()
        axis.plot([0, 1], [0.5, 0.65])
        _scores_axis(axis)
        low, high = axis.get_ylim()
        assert 0.4 < low < 0.5
        assert 0.65 < high < 0.75
        axis = new_figure(3, 3).add_subplot()
        axis.plot([0, 1], [1.0, 1.0])
        _scores_axis(axis)
        low, high = axis.get_ylim()
        assert high == 1
        assert 0.8 < low <= 0.9
