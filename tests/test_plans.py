"""Plans of several products, named plans, and what the command line makes of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.commands.request import find_plan, read_request
from benchmark.errors import BenchmarkError
from benchmark.plan import PlanConfig, make_plan, plan_conditions, regime_named
from benchmark.planfile import named_plan, plan_names
from benchmark.registry import model_class, model_names
from benchmark.systems import run_title, run_titles, systems
from benchmark.tracking.parents import Plan
from protocols.regimes import Regime
from reports.published import read_paper
from tests.tiny import benchmark

RATES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


def planned(tiny, name: str, *settings: str, epochs: int | None = None, **given):
    return make_plan(read_request(named_plan(name), given, list(settings), epochs), tiny)


def test_products_have_the_common_keys_and_their_own_on_top() -> None:
    config = PlanConfig(
        **{
            "models": ["qamoe"],
            "seeds": [5],
            "model": {"width": 16, "topk": 2},
            "runs": [{}, {"seeds": [6], "model": {"topk": 8}}],
        }
    )
    first, second = config.products
    assert (first.seeds, first.model) == ((5,), {"width": 16, "topk": 2})
    assert (second.seeds, second.model) == ((6,), {"width": 16, "topk": 8})
    assert first.models == second.models == ("qamoe",)
    assert PlanConfig(models=("qamoe",)).products[0].models == ("qamoe",)


def test_a_run_that_two_products_need_is_planned_once_with_the_conditions_of_both(tiny) -> None:
    settings = {"models": ["qamoe"], "regimes": ["clean"], "evaluation": {"draws": 1}}
    parts = [{"protocol": "I"}, {"protocol": "II"}]
    (one,) = make_plan(PlanConfig(**{**settings, "runs": parts}), tiny)
    asked = [plan_conditions(PlanConfig(**{**settings, **part}), tiny) for part in parts]
    assert set(one.conditions) == set(asked[0]) | set(asked[1])
    assert list(one.conditions) == sorted(one.conditions)
    (clean,) = make_plan(PlanConfig(**settings, protocol="clean"), tiny)
    assert len(clean.conditions) == 1


def test_regimes_by_name() -> None:
    assert regime_named("missing-0.3", {}) == Regime(kind="missing", rate=0.3)
    assert regime_named("missing-0.3", {}) == regime_named("missing", {"rate": 0.3})
    rule = {"noise_rule": "gaussian_av"}
    assert regime_named("noise-0.7", rule).name == "noise-0.7"
    assert regime_named("noise-0.7", rule).noise_rule == "gaussian_av"
    for wrong in ("clean-0.3", "missing-x", "missing-3", "missing"):
        with pytest.raises(BenchmarkError):
            regime_named(wrong, {})


def test_the_ablations_of_table_6(tiny) -> None:
    plan = planned(tiny, "paper/table6")
    found = {(p.spec.setting("model.ablation"), p.spec.seed) for p in plan}
    kinds = ("none", "no_gate", "no_variance", "no_prior")
    assert found == {(kind, seed) for kind in kinds for seed in (1111, 1112, 1113)}
    assert {p.spec.regime.name for p in plan} == {"spectrum"}


def test_the_expert_counts_of_figure_4_share_their_middle_with_table_6(tiny) -> None:
    plan = planned(tiny, "paper/figure4", seeds=(7,))
    assert [p.spec.setting("model.topk") for p in plan] == [1, 2, 3, 4, 8]
    ablations = planned(tiny, "paper/table6", seeds=(7,))
    shared = {p.spec.run_id for p in plan} & {p.spec.run_id for p in ablations}
    assert shared == {p.spec.run_id for p in plan if p.spec.setting("model.topk") == 3}


def test_table_3_trains_a_model_for_each_rate_and_one_for_all(tiny) -> None:
    plan = planned(tiny, "paper/table3", models=("qamoe",), seeds=(1,))
    regimes = [p.spec.regime for p in plan]
    assert [r.rate for r in regimes if r.kind == "missing"] == list(RATES)
    assert {r.missing_rule for r in regimes if r.kind == "missing"} == {"at_least_one"}
    assert [r.kind for r in regimes].count("spectrum") == 1
    everybody = planned(tiny, "paper/table3", seeds=(1,))
    assert len(everybody) == 8 * len({p.spec.model for p in everybody})


def test_all_plans_together_train_each_run_once(tiny) -> None:
    together = planned(tiny, "paper")
    parts = [planned(tiny, name) for name in plan_names() if name.startswith("paper/")]
    run_ids = [p.spec.run_id for p in together]
    assert len(run_ids) == len(set(run_ids))
    assert set(run_ids) == {p.spec.run_id for part in parts for p in part}
    asked = {p.spec.run_id: set(p.conditions) for p in together}
    for part in parts:
        for p in part:
            assert set(p.conditions) <= asked[p.spec.run_id]
    rates, intensities = (len(named_plan(f"paper/table{number}")["models"]) for number in (3, 4))
    # clean and spectrum of all, 7 rates, 7 intensities under two rules; 3 ablations, 4 further k.
    assert len(run_ids) == 3 * (2 * len(model_names()) + 7 * rates + 14 * intensities + 3 + 4)


@pytest.mark.parametrize("number", range(1, 10))
def test_the_papers_tables_have_its_systems(number: int) -> None:
    """Whose title stands in the printed table, on any data set; "lite" is a lighter form."""
    table = read_paper("qa_moe")[f"table{number}"]
    parts = table["datasets"].values() if "datasets" in table else [table["models"]]
    printed = {title for models in parts for title in models}
    titles = {model_class(n).card.title for n in named_plan(f"paper/table{number}")["models"]}
    assert {title.removesuffix("-lite") for title in titles} == printed


def test_a_model_of_ones_own_joins_a_papers_table(tiny) -> None:
    plan = planned(tiny, "paper/table4", models=("qamoe", "lmf"), seeds=(1,))
    assert {p.spec.model for p in plan} == {"qamoe", "lmf"}
    assert len(plan) == 2 * (14 + 2)


def test_the_command_line_overrides_every_product(tiny) -> None:
    plan = planned(
        tiny, "paper/table6", "evaluation.draws=1", epochs=2, seeds=(9,), protocol="clean"
    )
    assert len(plan) == 4
    assert {p.spec.seed for p in plan} == {9}
    assert {p.spec.training.epochs for p in plan} == {2}
    assert {len(p.conditions) for p in plan} == {1}


def test_two_learning_rates_are_two_systems(tiny) -> None:
    runs = [{"training": {"learning_rate": rate}} for rate in (1e-3, 1e-4)]
    request = PlanConfig(dataset="tiny", models=("lmf",), seeds=(1, 2), runs=runs)
    specs = [planned.spec for planned in make_plan(request, tiny)]
    assert {
        (name.model, name.training): [s.seed for s in members]
        for name, members in systems(specs).items()
    } == {
        ("LMF", f"{regime} (learning_rate={rate})"): [1, 2]
        for regime in ("clean", "spectrum")
        for rate in (0.001, 0.0001)
    }
    named = run_titles(specs)
    assert len(set(named.values())) == len(specs) == 8
    kept = Plan.of("p", "two rates", "x", "", specs)
    assert kept.titles == named  # in MLflow too, where a run is else called by its own name
    decay = {"weight_decay": 1e-5 + 1e-13}
    near = [replace(s, training=s.training.model_copy(update=decay)) for s in specs]
    assert len(systems([*specs, *near])) == 8  # also where six digits do not tell them apart
    alone = [spec for spec in specs if spec.training.learning_rate == 1e-3]
    assert "LMF · clean" in {name.label for name in systems(alone)}
    assert Plan.of("p", "one rate", "x", "", alone).titles == {}


def test_the_command_line_chooses_models_and_regimes_of_a_plan(tiny) -> None:
    chosen = {"models": ("mult",), "regimes": ("missing",), "seeds": (1,)}
    names = [run_title(p.spec) for p in planned(tiny, "paper/table3", **chosen)]
    assert names == [
        f"MulT · missing-{rate} (missing_rule=at_least_one) · seed 1" for rate in RATES
    ]
    (one,) = planned(tiny, "paper/table3", models=("mult",), regimes=("missing-0.2",), seeds=(1,))
    assert one.spec.regime.rate == 0.2
    with pytest.raises(BenchmarkError, match=r"unknown model in this plan 'mult'"):
        planned(tiny, "paper/table6", models=("mult",))
    with pytest.raises(BenchmarkError, match=r"unknown regime in this plan 'clean'"):
        planned(tiny, "paper/table6", regimes=("clean",))


def test_titles_tell_settings_apart(tiny) -> None:
    titles = [run_title(p.spec) for p in planned(tiny, "paper/table6", seeds=(1,))]
    assert titles[:2] == [
        "QA-MoE · spectrum · seed 1",
        "QA-MoE · spectrum (ablation=no_gate) · seed 1",
    ]
    assert len(set(titles)) == 4


def test_a_reconstruction_is_called_one_in_every_title(tiny) -> None:
    everything = [p.spec for p in planned(tiny, "paper/figure6")]
    assert {spec.model for spec in everything} >= {"sam_lml", "qamoe"}
    for spec in everything:
        rebuilt = model_class(spec.model).card.source == "reconstruction"
        assert ("(reconstruction)" in run_title(spec)) == rebuilt
    assert {s.model for s in everything if "(reconstruction)" in run_title(s)} >= {
        "sam_lml",
        "smil",
    }


def test_mistakes_in_plans(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"unknown plan 'paper/tabel6'.*Did you mean"):
        named_plan("paper/tabel6")
    mine = tmp_path / "mine.yaml"
    with pytest.raises(BenchmarkError, match="give one of them"):
        find_plan("paper/table6", mine)
    mine.write_text("runs: [{modells: [qamoe]}]\n")
    with pytest.raises(BenchmarkError, match=r"entry 1 of its runs.*Did you mean models"):
        read_request(find_plan(None, mine), {}, [], None)
    mine.write_text("runs: qamoe\n")
    with pytest.raises(BenchmarkError, match="must be a list"):
        read_request(find_plan(None, mine), {}, [], None)


def test_a_plan_of_ones_own_runs_and_says_what_is_missing(tmp_path: Path, data_dir: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "title: my question\nmodels: [qamoe]\nregimes: [clean]\nprotocol: clean\n"
        "model: {width: 16, encoder_heads: 2}\ntraining: {epochs: 1}\n"
        "runs:\n  - model: {topk: 1}\n  - model: {topk: 2}\n"
    )
    runs = tmp_path / "runs"
    command = ["run", "--config", mine, "--dataset", "tiny", "--data-dir", data_dir]
    command += ["--runs-dir", runs, "--tracking-uri", "none", "--workers", "1"]
    dry = benchmark(*command, "--dry-run")
    assert "my question: 2 runs on tiny, 2 to do" in dry.stdout, dry.stderr
    assert "2 of 2 runs are missing" in dry.stdout
    done = benchmark(*command)
    assert done.returncode == 0, done.stderr
    rows = done.stdout.partition("Test ")[2].splitlines()
    assert any("topk=1" in row for row in rows)
    assert any("topk=2" in row for row in rows)
    assert "0 of 2 runs are missing" in benchmark(*command, "--dry-run").stdout
