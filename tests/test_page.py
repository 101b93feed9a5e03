"""The page: loads nothing, shows everything, says the right values, escapes what it is given."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from benchmark.records import METRICS, RunStore
from reports.build import build
from reports.web.leaderboard import leaderboard_tables
from reports.web.page import is_elsewhere
from reports.write import ReportPaths
from tests.report_records import LABEL, add, make_spec, make_table, off_by, one, sources

VOID = {"meta", "img", "br", "link", "input", "hr"}
HOSTILE = "<script>alert('x')</script><img src=http://evil.example/x.png> & \"quoted\""


@dataclass
class Node:
    tag: str
    attrs: dict[str, str]
    text: str = ""  # of a piece of text, whose tag is ""
    children: list[Node] = field(default_factory=list)

    def all(self, tag: str = "") -> Iterator[Node]:
        for child in self.children:
            if not tag or child.tag == tag:
                yield child
            yield from child.all(tag)

    @property
    def whole(self) -> str:
        return self.text + "".join(child.whole for child in self.children)


class Tree(HTMLParser):
    """The document as nodes; every tag must be closed, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.root = Node("", {})
        self.open = [self.root]
        self.feed(text)
        self.close()
        assert self.open == [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, {key: value or "" for key, value in attrs})
        self.open[-1].children.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(Node("", {}, data))


def address(seed: int) -> tuple[str, str]:
    """A run of Alpha, and where it is in MLflow."""
    run_id = make_spec("alpha", seed=seed).run_id
    return run_id, f"http://127.0.0.1:5000/#/experiments/1/runs/{run_id}"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> ReportPaths:
    """Alpha is off by 0.5, Beta by 0.8, and by 0.1 more for each missing modality."""
    store = RunStore(tmp_path_factory.mktemp("runs"))
    store.prepare()
    for model, error in (("alpha", 0.5), ("beta", 0.8)):
        for seed in (1, 2):
            facts = {"parameters": 1_399_170} if model == "alpha" else {}
            add(store, make_spec(model, seed=seed), make_table(LABEL, off_by(error)), **facts)
    out = tmp_path_factory.mktemp("out")
    (paths,) = build(store, None, out, lambda: dict(map(address, (1, 2))))
    return paths


def small(store: RunStore) -> Node:
    """A page of what is in the store and one run more."""
    add(store, make_spec(), make_table(LABEL, off_by(0.5), protocols=["I"]), synthetic=True)
    (paths,) = build(store, None, store.root.parent / "out")
    return tree(paths)


def tree(built: ReportPaths) -> Node:
    return Tree(built.index.read_text()).root


def by_id(root: Node, name: str) -> Node:
    (found,) = [node for node in root.all() if node.attrs.get("id") == name]
    return found


def rows(table: Node) -> list[list[str]]:
    return [
        [cell.whole for cell in row.children if cell.tag in ("th", "td")] for row in table.all("tr")
    ]


def test_the_page_loads_nothing(built: ReportPaths) -> None:
    root = tree(built)
    for node in root.all():
        assert node.tag not in {"link", "iframe", "object", "embed", "base", "source"}
        assert node.attrs.get("src", "data:").startswith("data:"), node.tag
        assert "srcset" not in node.attrs
        assert not any(name.startswith("on") for name in node.attrs)
    style = " ".join(node.whole for node in root.all("style"))
    script = " ".join(node.whole for node in root.all("script"))
    assert "url(" not in style
    assert "@import" not in style
    for call in ("http", "fetch", "XMLHttpRequest", "import(", "eval", "innerHTML"):
        assert call not in script


def test_every_table_and_figure_is_on_it(built: ReportPaths) -> None:
    root = tree(built)
    ids = [node.attrs["id"] for node in root.all() if "id" in node.attrs]
    assert len(ids) == len(set(ids))
    assert {path.stem for path in (*built.tables, *built.figures)} <= set(ids)
    targets = {a.attrs["href"] for a in root.all("a")}
    assert {target[1:] for target in targets if target.startswith("#")} <= set(ids)
    images = [image.attrs["src"] for image in root.all("img")]
    assert len(images) == len({path.stem for path in built.figures})
    assert all(source.startswith("data:image/png;base64,iVBOR") for source in images)


def test_its_numbers_are_those_of_the_records(built: ReportPaths) -> None:
    """Off by 0.5, and by 0.1 more for each missing modality: 0.5 + 0.3 η on average at η."""
    root = tree(built)
    head, alpha, beta = rows(by_id(root, "leaderboard-mae"))
    assert head == [
        "Model",
        "Seeds",
        "Training",
        "Parameters",
        "Clean test",
        "Protocol I, fixed",
        "Protocol I, random",
        "Protocol II",
        "Protocol III",
        "Grid mean",
    ]
    # Of the 7 non-empty subsets 3 lack two modalities and 3 lack one: 0.9 / 7 more.
    assert alpha[:4] == ["Alpha", "2", "clean", "1.40 M"]
    assert alpha[4:8] == [f"{x:.3f} ± 0.000" for x in (0.5, 0.629, 0.62, 0.5)]
    assert alpha[9] == "0.605 ± 0.000"
    assert beta[3:5] == ["–", "0.800 ± 0.000"]
    board = by_id(root, "board-seed-a1-mae")
    said = [square.attrs["data-more"] for square in board.all("i")]
    assert len(said) == 2 * 64
    assert said[0] == "0.710 ± 0.000"  # λ = 0, η = 0.7
    assert said[63] == "0.500 ± 0.000"  # λ = 0.7, η = 0
    assert said[8 * 5 + 3] == "0.560 ± 0.000"  # λ = 0.3, η = 0.2
    alts = [node.attrs["aria-label"] for node in board.all("div") if "aria-label" in node.attrs]
    assert "Alpha · clean, MAE: 0.500 at λ 0, η 0" in alts[0]
    assert "0.710 at λ 0, η 0.7" in alts[0]
    shades = [square.attrs["class"].split() for square in board.all("i")]
    assert [place for place, names in enumerate(shades) if "star" in names] == [43, 64 + 43]
    style = " ".join(node.whole for node in root.all("style"))
    assert f".{shades[63][0]}{{background:#fde725}}" in style  # viridis' brightest: the best
    assert f".{shades[64][0]}{{background:#440154}}" in style  # and its darkest: the worst


def test_the_leaderboard_begins_with_the_best_and_ends_with_the_missing(store: RunStore) -> None:
    for model, error in (("alpha", 0.8), ("qamoe", 0.5)):
        add(store, make_spec(model), make_table(LABEL, off_by(error)))
    add(store, make_spec("beta"), make_table(LABEL, off_by(0.1), protocols=["I"]))
    for table in leaderboard_tables(sources(one(store))):
        found = [row.label.partition(" ")[0] for row in table.rows if row.kind == "measured"]
        assert found == ["QA-MoE", "Alpha", "Beta"]


def test_hovering_tells_more_digits_seeds_and_interval(built: ReportPaths) -> None:
    root = tree(built)
    more = {cell.attrs.get("data-more") for cell in by_id(root, "leaderboard-mae").all("td")}
    assert "0.50000 ± 0.00000; 95 % interval 0.50000 to 0.50000; 2 seeds" in more
    summary = by_id(root, "robustness-summary-seed-a1")
    more = {cell.attrs.get("data-more") for cell in summary.all("td")}
    assert "0.60500 ± 0.00000; 95 % interval 0.60500 to 0.60500; 2 seeds" in more


def test_each_system_leads_to_its_runs(built: ReportPaths) -> None:
    root = tree(built)
    (link,) = {
        a.attrs["href"] for a in by_id(root, "leaderboard-mae").all("a") if a.whole == "Alpha"
    }
    origin = by_id(root, link[1:])
    for record in built.results.systems[0].records:
        assert record.run_id in origin.whole
    assert {a.attrs["href"] for a in origin.all("a")} == {address(1)[1], address(2)[1]}
    assert built.results.data_sha256 in root.whole
    assert "0123456789" in origin.whole


def test_the_page_says_what_the_rows_of_a_table_were_made_with(store: RunStore) -> None:
    """Rows of two origins, and those of a noise that is out of date."""
    table = make_table(LABEL, off_by(0.5), protocols=["II"])
    first, second = {"commit": "a" * 40, "date": "2026-01-01"}, {"commit": "b" * 40, "dirty": True}
    versions = [
        ("old" if c.intensity > 0.5 else v)
        for c, v in zip(table.conditions, table.versions, strict=True)
    ]
    origins = {"blocks": (first, second), "block": (0, 0, 0, 1, 1, 1, 1, 1)}
    add(store, make_spec("half"), replace(table, versions=tuple(versions), **origins))
    text = small(store).whole
    assert "3 by aaaaaaaaaa on 2026-01-01; 5 by bbbbbbbbbb + changes; 2 out of date" in text


def test_what_many_captions_say_is_said_once(built: ReportPaths) -> None:
    root = tree(built)
    notes = [note.whole for note in by_id(root, "notes").all("li")]
    assert len(notes) == len(set(notes))
    said = [node.whole for node in root.all("p") if node.attrs.get("class") == "caption"]
    everything = " ".join(said)
    for table in leaderboard_tables(sources(built.results)):
        shown = next(p.whole for p in by_id(root, table.name).all("p"))
        for sentence in table.caption:
            number = notes.index(sentence) + 1  # both leaderboards say it
            assert re.search(rf"\b{number}\b", shown.partition("Note")[2])
            assert sentence not in everything


def test_headings_are_in_order_and_headers_have_a_scope(built: ReportPaths) -> None:
    root = tree(built)
    levels = [int(n.tag[1]) for n in root.all() if re.fullmatch("h[1-6]", n.tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    heads = [n for n in root.all("th") if "section" not in n.attrs.get("class", "")]
    assert {n.attrs.get("scope") for n in heads if "colspan" not in n.attrs} == {"col", "row"}
    for image in root.all("img"):  # it says what is on the picture, not what it is called
        assert "Alpha · clean" in image.attrs["alt"]
        assert len(image.attrs["alt"]) > 100


def test_addresses_of_this_machine_say_so(built: ReportPaths) -> None:
    assert "MLflow (on the machine that made this page)" in tree(built).whole
    assert is_elsewhere("https://mlflow.example.org/#/experiments/1")
    assert not is_elsewhere("http://localhost:5000/#/experiments/1")


def test_a_report_for_somebody_else_names_no_place_of_this_machine(built: ReportPaths) -> None:
    for node in tree(built).all("a"):
        link = node.attrs["href"]
        assert link.startswith(("#", "data:", "https://", "http://127.0.0.1:5000/#/"))
    places = {built.index.parent.parent, *(r.path.parent for r in built.results.records)}
    local = [str(place).encode() for place in (*places, Path.cwd(), Path.home() / "x")]
    for path in built.index.parent.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert not [place for place in local if place.rstrip(b"x") in content], path


def test_what_could_not_be_used_is_on_it(store: RunStore) -> None:
    half = add(store, make_spec("half"), make_table(LABEL, off_by(0.5), protocols=["I"]))
    (half.path / METRICS).unlink()
    root = small(store)
    (item,) = [node.whole for node in root.all("li") if node.whole.startswith(half.run_id)]
    assert item == f"{half.run_id} metrics.json: it is missing"
    assert "Synthetic data." in root.whole


def test_hostile_names_stay_text(store: RunStore) -> None:
    table = make_table(LABEL, off_by(0.1), protocols=["I"])
    spec = make_spec("evil", config={HOSTILE: HOSTILE})
    add(store, replace(spec, title=HOSTILE, source=HOSTILE, changes={}), table)
    root = small(store)
    assert len(list(root.all("script"))) == 1
    assert all(image.attrs["src"].startswith("data:") for image in root.all("img"))
    labels = {row[0] for row in rows(by_id(root, "leaderboard-mae"))}
    assert HOSTILE in labels


BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
MEASURE = """<!doctype html><body><iframe id="page" src="index.html"></iframe><script>
addEventListener("load", () => {
  const widths = [390, 800, 1400].map((width) => {
    const frame = document.getElementById("page");
    frame.style.width = `${width}px`;
    return width - frame.contentDocument.documentElement.scrollWidth;
  });
  document.body.dataset.room = widths.join(" ");
});</script>"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_no_screen_is_too_narrow(built: ReportPaths) -> None:
    """Tables scroll in their own box, the page never sideways."""
    (built.folder / "measure.html").write_text(MEASURE)
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu"]
    command += ["--allow-file-access-from-files", "--dump-dom"]
    address = (built.folder / "measure.html").as_uri()
    done = subprocess.run([*command, address], capture_output=True, text=True, timeout=120)
    found = re.search(r'data-room="([^"]*)"', done.stdout)
    assert found, done.stderr[-500:]
    assert all(float(room) >= 0 for room in found[1].split()), found[1]
