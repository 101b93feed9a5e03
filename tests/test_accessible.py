"""The pages in a browser: axe finds nothing serious, and keys and taps do what a pointer does.

Skipped where there is no Chromium. axe-core comes with the package ``axe-core-python``; ``AXE`` may
name the ``axe.min.js`` of another version.
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

import benchmark
from benchmark.data.registry import load_dataset
from benchmark.packs.card import Facts
from benchmark.packs.making import files_of, write
from benchmark.records import RunStore
from reports.build import build
from reports.write import ReportPaths
from reports.zoo.command import leaderboard
from tests.report_records import LABEL, add, make_spec, make_table, off_by

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium here")


def axe() -> str:
    """The script of axe-core."""
    named = os.environ.get("AXE")
    path = Path(named) if named else files("axe_core_python").joinpath("axe.min.js")
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> ReportPaths:
    store = RunStore(tmp_path_factory.mktemp("runs"))
    store.prepare()
    for place, model in enumerate(("alpha", "beta", "qamoe")):
        for regime in ("clean", "spectrum"):
            for seed in (1, 2):
                table = make_table(LABEL, off_by(0.5 + 0.1 * place))
                facts = {"floors": {"mean": 0.2, "median": 0.1}, "synthetic": True}
                add(store, make_spec(model, regime, seed=seed), table, **facts)
    (paths,) = build(store, None, tmp_path_factory.mktemp("out"))
    return paths


@pytest.fixture(scope="module")
def zoo(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of two submissions, one of which claims what it does not reach."""
    folder, data = tmp_path_factory.mktemp("zoo"), load_dataset("tiny", data_dir)
    for weight, name in ((1.0, "Good"), (0.2, "Bad")):
        result = benchmark.evaluate(
            lambda batch, weight=weight: weight * batch.text.mean((1, 2)),
            **{"dataset": data, "name": name, "draws": 1},
        )
        facts = Facts(year=2026, paper="https://example.org", claims={"grid_mae": 0.1})
        record = result.save(folder / "runs")
        write(files_of([record], name, facts), folder / f"{name}.zip")
    leaderboard([str(folder)], folder / "index.html", data_dir=data_dir)
    return folder / "index.html"


def told(built: ReportPaths, script: str, width: int = 1400) -> Any:
    """:func:`told_on` of the report's page."""
    return told_on(built.index, script, width)


def told_on(page: Path, script: str, width: int, dark: bool = False) -> Any:
    """What a script says on a page: the body of an async function that returns JSON."""
    text = page.read_text()
    run = (
        "<script>addEventListener('load', async () => { let told; try { told = await (async () => {"
        f"{script}}})(); }} catch (error) {{ told = String(error); }}"
        "document.title = 'told'; document.body.textContent = JSON.stringify(told); });</script>"
    )
    page = page.with_name("tried.html")
    page.write_text(text.replace("</body>", run + "</body>"))
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += [f"--window-size={width},1200", "--virtual-time-budget=20000"]
    command += ["--blink-settings=preferredColorScheme=0"] if dark else []
    done = subprocess.run(
        [*command, page.as_uri()], capture_output=True, text=True, timeout=120, check=False
    )
    found = re.search(r"<body[^>]*>(.*)</body>", done.stdout, re.DOTALL)
    assert found, done.stderr[-500:]
    return json.loads(html.unescape(found[1]))


def serious(page: Path, width: int, dark: bool) -> list[Any]:
    """What axe finds on a page that is unfolded."""
    source = json.dumps(axe()).replace("</", "<\\/")
    script = (
        "document.querySelectorAll('details').forEach((one) => { one.open = true; });"
        f"eval({source});"
        "const found = await axe.run(document, { resultTypes: ['violations'] });"
        "return found.violations.map((one) => [one.impact, one.id, one.nodes.length, "
        "one.nodes[0].html.slice(0, 200)]);"
    )
    found = told_on(page, script, width, dark)
    assert isinstance(found, list), found
    return [one for one in found if one[0] in ("serious", "critical")]


LONG = pytest.mark.long
each_look = pytest.mark.parametrize(
    ("width", "dark"),
    [(1400, True), pytest.param(1400, False, marks=LONG), pytest.param(500, False, marks=LONG)],
)


@each_look
def test_axe_finds_nothing_serious(built: ReportPaths, width: int, dark: bool) -> None:
    assert serious(built.index, width, dark) == []


@each_look
def test_axe_finds_nothing_serious_on_the_submissions(zoo: Path, width: int, dark: bool) -> None:
    assert serious(zoo, width, dark) == []


def test_axe_finds_what_is_wrong(built: ReportPaths, tmp_path: Path) -> None:
    page = tmp_path / "index.html"
    wrong = re.sub('(<img [^>]*) alt="[^"]*"', r"\1", built.index.read_text(), count=1)
    page.write_text(re.sub("<tbody>.*?</tbody>", "", wrong, flags=re.DOTALL))  # slow, and right
    assert [one[:2] for one in serious(page, 1400, dark=False)] == [["critical", "image-alt"]]


def test_headings_sort_best_first_and_floors_stay_below(built: ReportPaths) -> None:
    script = """
    const table = document.querySelector("#leaderboard-acc7 table");
    const heads = [...table.tHead.rows[0].cells];
    const head = heads.find((one) => one.textContent === "Clean test");
    const column = () => [...table.tBodies[0].rows].map(
      (row) => [row.className, parseFloat(row.cells[head.cellIndex].textContent)]);
    const before = heads.filter((one) => one.hasAttribute("aria-sort")).map(
      (one) => [one.textContent, one.getAttribute("aria-sort")]);
    head.querySelector("button").click();
    const first = column();
    head.querySelector("button").click();
    const body = table.tBodies[0];
    const reached = [...body.querySelectorAll("td[tabindex]")].map(
      (cell) => cell.parentElement === body.rows[0]);
    return [before, first, column(), reached];
    """
    before, first, second, reached = told(built, script)
    assert reached == [True]  # Tab comes to the top row, also after sorting
    assert before == [["Grid mean", "descending"]]
    for shown, best_first in ((first, True), (second, False)):
        kinds = [kind for kind, _ in shown]
        assert kinds == ["measured"] * 6 + ["floor"] * 2
        values = [value for _, value in shown[:6]]
        assert values == sorted(values, reverse=best_first)


def test_numbers_are_told_on_focus_tap_and_by_arrows(built: ReportPaths) -> None:
    script = """
    const tip = document.getElementById("tip");
    const cell = document.querySelector("#leaderboard-mae td[data-more]");
    const key = (where, name) => where.dispatchEvent(
      new KeyboardEvent("keydown", { key: name, bubbles: true }));
    const said = [];
    cell.focus(); said.push(tip.hidden ? "" : tip.textContent);
    key(cell, "Escape"); said.push(tip.hidden ? "" : tip.textContent);
    key(cell, "ArrowRight"); said.push(tip.textContent);
    said.push(String(document.activeElement === cell.nextElementSibling));
    cell.click(); said.push(tip.textContent);
    const map = document.querySelector(".board:not([hidden]) .map");
    key(map, "ArrowRight"); said.push(tip.textContent);
    key(map, "ArrowUp"); said.push(tip.textContent);
    said.push([cell.dataset.more, cell.nextElementSibling.dataset.more]);
    return said;
    """
    focused, escaped, right, moved, tapped, east, north, (first, second) = told(built, script)
    assert focused == tapped == first
    assert "95 % interval" in first
    assert escaped == ""
    assert (right, moved) == (second, "true")
    assert east.startswith("λ = 0.4, η = 0.2: MAE ")
    assert north.startswith("λ = 0.4, η = 0.3: MAE ")


def test_the_filter_keeps_rows_and_landscapes(built: ReportPaths) -> None:
    script = """
    const filter = document.getElementById("filter");
    filter.value = "alpha spec";
    filter.dispatchEvent(new Event("input"));
    const kept = (selector) => document.querySelectorAll(`${selector}:not([hidden])`).length;
    return [kept("#leaderboard-mae tr.measured"), kept("#leaderboard-mae tr.floor"),
      kept(".board:not([hidden]) .maps figure"), document.getElementById("kept").textContent];
    """
    assert told(built, script) == [1, 2, 1, "1 of 6 systems"]


def test_a_table_and_a_figure_can_be_saved_without_the_folder(built: ReportPaths) -> None:
    script = """
    const saved = [];
    HTMLAnchorElement.prototype.click = function () { saved.push([this.download, this.href]); };
    document.querySelector("#leaderboard-mae .get").click();
    document.querySelector("figure.picture .get").click();
    const text = await (await fetch(saved[0][1])).text();
    return [saved.map((one) => one[0]), text.split("\\n").slice(0, 2), saved[1][1].slice(0, 22)];
    """
    names, (head, first), image = told(built, script)
    assert names[0] == "leaderboard-mae.csv"
    assert names[1].endswith(".png")
    assert head.lstrip("\ufeff").startswith('"Model","Seeds","Training","Parameters","Clean test"')
    assert first.startswith('"Alpha","2","clean","–","0.50000 ± 0.00000; 95 % interval')
    assert image == "data:image/png;base64,"


def test_what_is_cut_off_says_so(built: ReportPaths) -> None:
    script = """
    const boxes = [...document.querySelectorAll("section[id] > .scroll")].filter(
      (box) => !box.closest("details:not([open])"));
    const look = () => boxes.map((box) => [box.scrollWidth > box.clientWidth + 2,
      box.nextElementSibling.className === "more-hint", box.tabIndex === 0]);
    let seen = look();
    for (let k = 0; k < 50 && seen.some(([wide, hint]) => wide !== hint); k++) {
      await new Promise((done) => setTimeout(done, 100));  // hints come when sizes are observed
      seen = look();
    }
    return seen;
    """
    found = told(built, script, 500)
    assert any(wide for wide, _, _ in found)
    assert all(wide == hint == focusable for wide, hint, focusable in found)


def test_a_page_that_was_moved_asks_for_nothing_and_shows_every_picture(built, tmp_path) -> None:
    alone = tmp_path / "sent.html"
    alone.write_bytes(built.index.read_bytes())
    script = (
        "const images = [...document.images]; images.forEach((one) => { one.loading = 'eager'; });"
        "await new Promise((done) => setTimeout(done, 2000));"
        "return [performance.getEntriesByType('resource').map((one) => one.name)"
        ".filter((name) => !name.startsWith('data:')), images.length,"
        "images.filter((one) => !one.naturalWidth).length];"
    )
    asked, pictures, broken = told_on(alone, script, 1400)
    assert (asked, broken) == ([], 0)
    assert pictures >= len([path for path in built.figures if path.suffix == ".png"]) > 0
