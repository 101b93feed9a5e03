"""Submissions: packed alike every time, opened safely, and verified against data and checkpoint."""

from __future__ import annotations

import functools
import http.server
import io
import json
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from safetensors.numpy import load, save

import benchmark
from benchmark import metrics_file
from benchmark.commands.pack import pack as pack_command
from benchmark.commands.pack import verify as verify_command
from benchmark.errors import BenchmarkError
from benchmark.packs.card import Facts, decimals, measured, stands
from benchmark.packs.making import _file, files_of, write, zipped
from benchmark.packs.opening import opened, sources
from benchmark.packs.verify import CHECKED, NUMBERS, REEVALUATED, Verified, verify
from benchmark.records import RunRecord, RunStore
from benchmark.seal import sealed, unsealed
from benchmark.table import load as load_table
from benchmark.table import seal_of, to_bytes
from tests.batches import WIDTHS
from tests.stranger.model import trained as gru
from tests.test_predict_command import trained

Files = dict[str, bytes]


@pytest.fixture(scope="module")
def ours(data_dir, tmp_path_factory) -> RunRecord:
    """A run of a registered model."""
    return trained(data_dir, tmp_path_factory.mktemp("ours"), "tiny")


@pytest.fixture(scope="module")
def theirs(data_dir, tmp_path_factory) -> RunRecord:
    """A stranger's model."""
    model = gru(*WIDTHS.values())
    result = benchmark.evaluate(model, dataset="tiny", data_dir=data_dir, name="Their GRU", draws=1)
    return result.save(tmp_path_factory.mktemp("theirs"))


@pytest.fixture
def files(ours) -> Files:
    return files_of([ours], "ours", Facts(licence="MIT"), "inside")


def checked(files: Files, data_dir: Path | None, tmp_path: Path, share: float = 1.0) -> Verified:
    path = tmp_path / "pack.zip"
    path.write_bytes(zipped(files))
    with opened(str(path)) as pack:
        return verify(pack, data_dir, share)


def place(files: Files, name: str) -> str:
    return next(one for one in files if one.endswith(name))


def with_card(files: Files, change) -> Files:
    card = json.loads(files["card.json"])
    change(card)
    return {**files, "card.json": json.dumps(card).encode()}


def repinned(files: Files) -> Files:
    """A forger's: the card states the hashes of the files as they are now."""

    def change(card):
        for name, content in files.items():
            if name != "card.json":
                card["files"][name] = _file(content).model_dump()

    return with_card(files, change)


def with_table(files: Files, tmp_path: Path, change, metrics: bool = False) -> Files:
    """Another table under its own sound hash; with ``metrics`` they follow it, and the claims."""
    where = place(files, "predictions.npz")
    (tmp_path / "t.npz").write_bytes(files[where])
    table = load_table(tmp_path / "t.npz")
    forged = change(table)
    made = {**files, where: to_bytes(forged)}
    if metrics:
        made[place(files, "metrics.json")] = metrics_file.to_json(forged, seal_of(forged))
    return repinned(made)


def one_prediction(table):
    prediction = table.prediction.copy()
    prediction[0, 3] += 0.5
    return replace(table, prediction=prediction)


def swapped_labels(table):
    label = table.label.copy()
    first, other = 0, int(np.flatnonzero(label != label[0])[0])
    label[[first, other]] = label[[other, first]]
    return replace(table, label=label)


def failures(found: Verified) -> dict[str, str]:
    return {one.what: one.detail for one in found.failures}


def test_the_same_runs_give_the_same_bytes(ours, theirs) -> None:
    first, again = (zipped(files_of([ours, theirs], "both", Facts())) for _ in range(2))
    assert first == again
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        names = archive.namelist()
    assert names[0] == "card.json"
    assert f"runs/{theirs.run_id}/predictions.npz" in names
    assert not [name for name in names if "checkpoint" in name]


def test_all_stands_of_what_is_sound(files, theirs, data_dir, tmp_path) -> None:
    found = checked(files, data_dir, tmp_path)
    assert not found.failures
    assert set(found.levels.values()) == {REEVALUATED}
    part = checked(files, data_dir, tmp_path, share=0.1)
    detail = next(one.detail for one in part.findings if one.what == "checkpoint")
    assert detail.startswith("16 of 40 samples")
    foreign = files_of([theirs], "theirs", Facts())
    found = checked(foreign, data_dir, tmp_path)
    assert not found.failures
    assert set(found.levels.values()) == {CHECKED}
    assert json.loads(foreign["card.json"])["systems"][0]["selection"] == "not stated"


def test_without_the_data_they_are_numbers(files, tmp_path) -> None:
    found = checked(files, None, tmp_path)
    assert not found.failures
    assert set(found.levels.values()) == {NUMBERS}


def test_a_changed_prediction(files, data_dir, tmp_path) -> None:
    changed = with_table(files, tmp_path, one_prediction)
    found = failures(checked(changed, data_dir, tmp_path))
    assert "metrics" in found
    whole = with_table(files, tmp_path, one_prediction, metrics=True)  # all of it made to fit
    found = failures(checked(whole, data_dir, tmp_path))
    assert "prediction of 1 is not the checkpoint's" in found["checkpoint"]
    assert "metrics" not in found


def test_a_changed_byte(files, data_dir, tmp_path) -> None:
    where = place(files, "predictions.npz")
    broken = bytearray(files[where])
    broken[-2000] ^= 1
    with pytest.raises(BenchmarkError, match="not the file that the card pins"):
        checked({**files, where: bytes(broken)}, data_dir, tmp_path)


def test_a_swapped_label(files, data_dir, tmp_path) -> None:
    changed = with_table(files, tmp_path, swapped_labels, metrics=True)
    found = failures(checked(changed, data_dir, tmp_path))
    assert "2 labels are not the data set's" in found["data"]


def test_easier_levels_of_protocol_iii(theirs, data_dir, tmp_path) -> None:
    def easier(table):
        levels = {key: x / 2 for key, x in table.joint_levels.items()}
        return replace(table, joint_levels=levels)

    files = files_of([theirs], "theirs", Facts())
    changed = with_table(files, tmp_path, easier, metrics=True)
    found = failures(checked(changed, data_dir, tmp_path))
    assert "λ and η of Protocol III are not those" in found["data"]


def test_other_data(files, data_dir, tmp_path) -> None:
    from benchmark.data.importer import import_package
    from tests.tiny import tiny_package

    other = tmp_path / "other"
    import_package(tiny_package(tmp_path / "cls.pkl", classification=True), "tiny", other)
    found = checked(files, other, tmp_path)
    assert "made on other data than the 'tiny' here" in failures(found)["data"]
    assert set(found.levels.values()) == {NUMBERS}


def test_an_inflated_claim(files, data_dir, tmp_path) -> None:
    def change(card):
        card["systems"][0]["claims"]["clean_mae"] = 0.1

    found = failures(checked(with_card(files, change), data_dir, tmp_path))
    assert list(found) == ["claims"]
    assert "clean_mae: claimed 0.1" in found["claims"]


def test_a_claim_that_nothing_measures(files, ours, data_dir, tmp_path) -> None:
    def change(card):
        card["systems"][0]["claims"]["wonder_mae"] = 0.1

    found = failures(checked(with_card(files, change), data_dir, tmp_path))
    assert "nothing measures it" in found["claims"]
    with pytest.raises(BenchmarkError, match="nothing to claim wonder"):
        files_of([ours], "ours", Facts(claims={"wonder": 1.0}))


def test_a_claim_stands_to_its_digits() -> None:
    assert [decimals(x) for x in (1.15, 0.5, 3.0, 1e-05)] == [2, 1, 0, 5]
    assert stands(1.15, 1.1549)
    assert not stands(1.15, 1.1551)
    assert not stands(1.15, 1.1449)
    assert stands(1.1549, 1.15494)


def test_a_tampered_checkpoint(files, data_dir, tmp_path) -> None:
    where, facts = place(files, "checkpoint.safetensors"), place(files, "env.json")
    weights = load(files[where])
    name = max(weights, key=lambda one: weights[one].size)
    weights[name] = weights[name] + np.float32(0.05)
    naive = repinned({**files, where: save(weights)})
    assert "checkpoint" in failures(checked(naive, data_dir, tmp_path))
    kept = unsealed(json.loads(files[facts]))
    kept["files"]["checkpoint.safetensors"] = {
        key: x for key, x in _file(save(weights)).model_dump().items() if key != "url"
    }
    skilled = repinned({**files, where: save(weights), facts: json.dumps(sealed(kept)).encode()})
    found = failures(checked(skilled, data_dir, tmp_path))
    assert "is not the checkpoint's" in found["checkpoint"]


HOSTILE = ["../evil", "runs/../../evil", "/etc/evil", "runs\\..\\evil", "runs/x/y", "evil.py"]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_path_that_points_outside(files, tmp_path, name) -> None:
    buffer = io.BytesIO(zipped(repinned({**files, name: b"x"})))
    path = tmp_path / "deep" / "pack.zip"
    path.parent.mkdir()
    path.write_bytes(buffer.getvalue())
    with pytest.raises(BenchmarkError, match="not opened"), opened(str(path)):
        pass
    assert sorted(one.name for one in tmp_path.iterdir()) == ["deep"]


def test_a_folder_whose_link_points_outside(files, tmp_path) -> None:
    write(files, tmp_path / "pack")
    with opened(str(tmp_path / "pack")) as pack:
        assert pack.card.title == "ours"
    secret = tmp_path / "secret"
    where = tmp_path / "pack" / place(files, "history.csv")
    secret.write_bytes(where.read_bytes())
    where.unlink()
    where.symlink_to(secret)
    with pytest.raises(BenchmarkError, match="leads outside"), opened(str(tmp_path / "pack")):
        pass


def test_cards_and_archives_that_are_none(files, tmp_path) -> None:
    def opens(content: bytes) -> None:
        (tmp_path / "pack.zip").write_bytes(content)
        with opened(str(tmp_path / "pack.zip")):
            pass

    huge = {"bytes": 10**15, "sha256": "0" * 64}
    name = place(files, "predictions.npz")
    for said, content in (
        ("no pack", b"garbage"),
        ("no card", zipped({"card.json": b"[" * 10**5})),
        ("form 9", zipped(with_card(files, lambda card: card.update(format=9)))),
        ("title", zipped(with_card(files, lambda card: card.pop("title")))),
        ("does not name", zipped(with_card(files, lambda card: card["files"].pop(name)))),
        ("are said to have", zipped(with_card(files, lambda c: c["files"].update({name: huge})))),
        ("cannot read", zipped({k: x for k, x in files.items() if k != name})),
    ):
        with pytest.raises(BenchmarkError, match=said):
            opens(content)
    opens(zipped(with_card(files, lambda card: card.update(added_later=1))))


@pytest.fixture
def server(tmp_path):
    """A web server of a folder: (folder, address)."""
    folder = tmp_path / "web"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{made.server_port}"
        made.shutdown()


def test_packs_and_weights_at_addresses(ours, theirs, data_dir, server) -> None:
    folder, address = server
    weights = folder / "runs" / ours.run_id
    weights.mkdir(parents=True)
    (weights / "checkpoint.safetensors").write_bytes(ours.checkpoint())
    files = files_of([ours], "ours", Facts(), f"{address}/runs")
    assert not [name for name in files if "checkpoint" in name]
    (folder / "a.zip").write_bytes(zipped(files))
    with opened(f"{address}/a.zip") as pack:
        found = verify(pack, data_dir, share=1.0)
        assert set(found.levels.values()) == {REEVALUATED}
        pinned = f"{address}/a.zip#sha256={pack.sha256}"
    with opened(pinned):
        pass
    (weights / "checkpoint.safetensors").write_bytes(b"x" * len(ours.checkpoint()))
    with opened(pinned) as pack:
        assert "another SHA-256" in failures(verify(pack, data_dir, share=1.0))["checkpoint"]
    (folder / "a.zip").write_bytes(zipped(files_of([theirs], "theirs", Facts())))
    for said, source in (("not what was pinned", pinned), ("cannot read", f"{address}/b.zip")):
        with pytest.raises(BenchmarkError, match=said), opened(source):
            pass


def test_a_zoo_is_packed_and_read_by_its_index(ours, theirs, data_dir, tmp_path, server) -> None:
    folder, address = server
    runs = tmp_path / "runs"
    for record in (ours, theirs):
        (runs / record.run_id).parent.mkdir(exist_ok=True)
        (runs / record.run_id).symlink_to(record.path)
    pack_command(["all"], folder / "zoo", each=True, runs_dir=runs)
    found = sources(f"{address}/zoo")
    assert len(found) == 2
    assert all("#sha256=" in one for one in found)
    assert [one.rpartition("/")[2] for one in sources(str(folder / "zoo"))] == [
        one.rpartition("/")[2] for one in found
    ]
    verify_command(f"{address}/zoo", 0.0, data_dir)
    victim = next((folder / "zoo").glob("*.zip"))
    victim.write_bytes(victim.read_bytes() + b"x")
    with pytest.raises(BenchmarkError, match="not what was pinned"):
        verify_command(str(folder / "zoo"), 0.0, data_dir)


def test_the_commands(theirs, data_dir, tmp_path, capsys) -> None:
    facts = tmp_path / "card.yaml"
    facts.write_text("licence: MIT\nyear: 2026\nselection: lowest validation loss\n")
    out = tmp_path / "mine.zip"
    pack_command([theirs.run_id], out, card=facts, runs_dir=theirs.path.parent)
    verify_command(str(out), 0.1, data_dir)
    said = capsys.readouterr().out
    for part in ("predictions checked", "lowest validation loss", "licence: MIT", "all that was"):
        assert part in said
    facts.write_text("claims: {grid_mae: 0.01}\n")
    pack_command([theirs.run_id], out, card=facts, runs_dir=theirs.path.parent)
    with pytest.raises(typer.Exit) as stop:
        verify_command(str(out), 0.1, data_dir)
    assert stop.value.exit_code == 1
    assert "claimed 0.01" in capsys.readouterr().out
    facts.write_text("licens: MIT\n")
    with pytest.raises(BenchmarkError, match="Did you mean licence"):
        pack_command([theirs.run_id], out, card=facts, runs_dir=theirs.path.parent)
    with pytest.raises(BenchmarkError, match="no complete record"):
        pack_command(["0" * 12], out, runs_dir=tmp_path)


def test_what_is_claimed_is_what_is_measured(theirs) -> None:
    numbers = measured([theirs])
    clean = theirs.metrics[theirs.metrics["protocol"] == "clean"]["mae"].item()
    grid = theirs.metrics[theirs.metrics["protocol"] == "grid"]["mae"].mean()
    assert numbers["clean_mae"] == pytest.approx(clean)
    assert numbers["grid_mae"] == pytest.approx(grid)
    card = json.loads(files_of([theirs], "x", Facts())["card.json"])
    assert card["systems"][0]["claims"]["grid_mae"] == round(grid, 4)
    assert RunStore(theirs.path.parent).survey().problems == {}
