"""The list of submissions: ranks that the data support, claims beside measures, nothing trusted."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

import benchmark
from benchmark.data.registry import load_dataset
from benchmark.packs.card import Facts
from benchmark.packs.making import files_of, write
from benchmark.packs.verify import CHECKED, NUMBERS
from benchmark.records import RunRecord
from reports.statistics.inference import Estimate, estimate
from reports.zoo.command import leaderboard
from reports.zoo.entries import Listed, listed, read_entries
from reports.zoo.page import zoo_page
from reports.zoo.ranking import ranks
from tests.test_packs import swapped_labels, with_table

HOSTILE = "<script>alert(1)</script>"


def made(mean: float, seeds: int, noise: float = 0.05, seed: int = 0, n: int = 200) -> Estimate:
    generator = np.random.default_rng(seed)
    return estimate(mean + noise * generator.normal(size=(seeds, 1, n))).at(0)


def test_ranks_are_places_that_the_data_support() -> None:
    apart = [made(0.1 * k, 5, seed=k) for k in (2, 0, 1)]
    assert [str(one) for one in ranks(apart, higher_is_better=False)] == ["3", "1", "2"]
    assert [str(one) for one in ranks(apart, higher_is_better=True)] == ["1", "3", "2"]
    alike = [made(0.5, 5, noise=1.0, seed=k) for k in range(3)]
    assert [str(one) for one in ranks(alike, False)] == ["1–3"] * 3
    pair = [made(0.0, 5, seed=1), made(0.001, 5, seed=2), made(1.0, 5, seed=3)]
    assert [str(one) for one in ranks(pair, False)] == ["1–2", "1–2", "3"]


def test_few_seeds_tie_with_everybody() -> None:
    found = [made(0.0, 5, seed=1), made(1.0, 2, seed=2), made(2.0, 5, seed=3)]
    assert [str(one) for one in ranks(found, False)] == ["1–2", "1–3", "2–3"]


def test_ranks_hold_their_level_under_no_difference() -> None:
    """All of a list are alike: in at most about 5 % of lists is anything ordered."""
    ordered = 0
    for trial in range(200):
        found = [made(0.0, 3, noise=1.0, seed=7 * trial + k, n=40) for k in range(4)]
        ordered += any(one.best > 1 for one in ranks(found, False))
    assert ordered <= 20  # the binomial's 99.9 % quantile at 0.05 is 20


@pytest.fixture(scope="module")
def runs(data_dir, tmp_path_factory) -> dict[str, list[RunRecord]]:
    """Two systems of three seeds and one of one."""
    folder = tmp_path_factory.mktemp("runs")
    data = load_dataset("tiny", data_dir)
    made = {}
    for name, weight, seeds in (("Good", 1.0, 3), ("Bad", 0.2, 3), (HOSTILE, 0.6, 1)):
        made[name] = []
        for seed in range(seeds):

            def predict(batch, weight=weight, seed=seed):
                return weight * batch.text.mean((1, 2)) + 1e-3 * seed

            result = benchmark.evaluate(predict, dataset=data, name=name, seed=seed, draws=1)
            made[name].append(result.save(folder))
    return made


def lists(sources: list[Path], data_dir: Path | None, keep: ExitStack) -> list[Listed]:
    entries, problems = read_entries([str(one) for one in sources], data_dir, 0.0, keep)
    assert not problems
    return listed(entries)


@pytest.fixture
def packs(runs, tmp_path) -> list[Path]:
    found = []
    for place, (name, records) in enumerate(runs.items()):
        facts = Facts(
            year=2020 + place,
            paper="javascript:alert(1)" if name == HOSTILE else "https://example.org/paper",
            links={"code": "https://example.org", "evil": "javascript:alert(2)"},
            notes=HOSTILE,
        )
        found.append(tmp_path / f"{place}.zip")
        write(files_of(records, name, facts), found[-1])
    return found


def test_the_page_shows_all_and_trusts_nothing(packs, data_dir) -> None:
    with ExitStack() as keep:
        (listing,) = lists(packs, data_dir, keep)
        page = zoo_page([listing], {"x.zip": HOSTILE})
    assert {entry.level for entry in listing.ranked} == {CHECKED}
    assert HOSTILE not in page
    assert page.count("<script>") == 1
    assert not re.search(r'(src|@import|url\()\s*=?\s*"?http', page)
    addresses = set(re.findall(r'href="([^"]+)"', page))
    inside = {one[1:] for one in addresses if one.startswith("#")}
    assert addresses - {f"#{one}" for one in inside} == {
        "https://example.org",
        "https://example.org/paper",
    }
    assert inside <= set(re.findall(r'id="([^"]+)"', page))
    good = listing.ranked[0].results
    assert good is not None
    frame = good.frame
    grid = frame[frame["protocol"] == "grid"].groupby("run_id")["mae"].mean()
    assert f"{grid.mean():.3f} ± {grid.std():.3f}" in page
    for said in ("trained elsewhere, selection unknown", "claimed", "2021", "@misc"):
        assert said in page


def test_a_wrong_claim_is_shown_beside_what_is_measured(runs, data_dir, tmp_path) -> None:
    out = tmp_path / "claim.zip"
    write(files_of(runs["Good"], "Good", Facts(claims={"grid_mae": 0.123})), out)
    with ExitStack() as keep:
        (listing,) = lists([out], data_dir, keep)
        page = zoo_page([listing], {})
    assert len(listing.ranked) == 1
    assert 'class="claim wrong">claimed 0.123' in page
    assert "a claim fails" in page


def test_what_does_not_stand_is_in_no_list(runs, packs, data_dir, tmp_path) -> None:
    sound = files_of(runs["Bad"][:1], "Forged", Facts())
    forged = tmp_path / "forged.zip"
    write(with_table(sound, tmp_path, swapped_labels, metrics=True), forged)
    with ExitStack() as keep:
        (listing,) = lists([*packs, forged], data_dir, keep)
        assert len(listing.ranked) == 3
        ((entry, why),) = listing.refused.items()
        assert entry.pack == "Forged"
        assert "labels are not the data set's" in why
        page = zoo_page([listing], {})
    assert "Not in the list" in page
    with ExitStack() as keep:  # nobody here has the data: the packs are held against each other
        (listing,) = lists([*packs, forged], None, keep)
        assert {entry.level for entry in listing.ranked} == {NUMBERS}
        assert [entry.pack for entry in listing.refused] == ["Forged"]


def test_two_submissions_of_one_name(runs, data_dir, tmp_path) -> None:
    """Neither is merged with the other: each has its own claims, seeds and row."""
    for place, records in enumerate((runs["Good"][:2], runs["Good"][2:])):
        write(files_of(records, f"number {place}", Facts()), tmp_path / f"{place}.zip")
    with ExitStack() as keep:
        (listing,) = lists(sorted(tmp_path.glob("*.zip")), data_dir, keep)
        assert sorted(len(one.results.records) for one in listing.ranked) == [1, 2]
        assert len({one.label for one in listing.ranked}) == 2
        zoo_page([listing], {})


def test_numbers_alone_are_listed_as_that(runs, packs, data_dir, tmp_path) -> None:
    card = json.loads(files_of(runs["Good"], "Paper only", Facts())["card.json"])
    card["systems"][0] |= {"runs": [], "seeds": [], "claims": {"grid_mae": 0.5}, "name": "Paper"}
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper" / "card.json").write_text(json.dumps({**card, "files": {}}))
    with ExitStack() as keep:
        (listing,) = lists([*packs, tmp_path / "paper"], data_dir, keep)
        page = zoo_page([listing], {})
    assert [entry.label for entry in listing.claimed] == ["Paper"]
    assert listing.claimed[0].level == NUMBERS
    assert "claimed 0.5<" in page


def test_the_command(packs, data_dir, tmp_path, capsys) -> None:
    broken = packs[0].parent / "broken.zip"
    broken.write_bytes(b"x")
    out = tmp_path / "out" / "page.html"
    leaderboard([str(packs[0].parent)], out, data_dir=data_dir)
    said = capsys.readouterr().out
    assert "tiny: 3 ranked" in said
    assert "not opened" in said
    assert "broken.zip" in out.read_text()


def test_a_strangers_row_is_in_report_and_list(runs, packs, data_dir, tmp_path) -> None:
    from benchmark.records import RunStore
    from reports.build import build

    (built,) = build(RunStore(runs["Good"][0].path.parent), None, tmp_path / "report")
    with ExitStack() as keep:
        page = zoo_page(lists(packs, data_dir, keep), {})
    for text in (built.index.read_text(), page):
        assert "Good · trained elsewhere, selection unknown" in text
        assert text.count('class="map"') >= 3  # its landscape too
