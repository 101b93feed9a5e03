"""Cards and settings where people look: the command, the page, tracking."""

from __future__ import annotations

import pytest

from benchmark.cards import card_facts, deviations, setting_rows
from benchmark.commands.show import show
from benchmark.config import TrainingConfig, build
from benchmark.errors import BenchmarkError
from benchmark.registry import model_class, model_names
from benchmark.tracking.tracked import card_note
from benchmark.yamlfile import parse_yaml
from reports.build import build as build_report
from tests.records import make_record


@pytest.mark.parametrize("name", model_names())
def test_a_card_its_settings_and_its_space(name, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    show(name, every=True)
    said = " ".join(capsys.readouterr().out.split())
    kind = model_class(name)
    for text in (kind.card.title, kind.card.citation, kind.card.source, *kind.card.deviations):
        assert " ".join(text.split()) in said
    for key, field in kind.Config.model_fields.items():
        assert f"model.{key}" in said
        assert " ".join((field.description or "").split()) in said
    for preset in kind.presets.values():
        for text in preset.card.deviations if preset.card else ():
            assert " ".join(text.split()) in said
    for key in kind.search_space:
        assert key in said
    assert "training.learning_rate 0.0005 number, > 0" in said
    assert "regime.rate_max" in said


@pytest.mark.parametrize("name", model_names())
def test_a_default_as_shown_is_the_default(name) -> None:
    """What is shown can be given to --set and changes nothing."""
    for kind, section in ((model_class(name).Config, "model"), (TrainingConfig, "training")):
        rows = setting_rows(kind, section)
        values = {
            row.name.partition(".")[2]: parse_yaml(row.default, row.name)
            for row in rows
            if row.default
        }
        assert build(kind, values, section) == kind()


def test_an_unknown_model_is_named() -> None:
    with pytest.raises(BenchmarkError, match="Did you mean qamoe"):
        show("qamo")


def test_cards_are_on_the_page_and_in_tracking(store, tmp_path) -> None:
    record = make_record(store, "sam_lml")
    card = model_class("sam_lml").card
    (built,) = build_report(store, None, tmp_path)
    page = built.index.read_text()
    note = card_note(record)
    assert '<h2 id="models">' in page
    for text in (card.citation, card.source, *card.deviations):
        assert text in note
        for character, escaped in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("'", "&#39;")):
            text = text.replace(character, escaped)
        assert text in page


def test_a_card_of_another_version_is_read() -> None:
    assert card_facts({}) == []
    card = {"source": "paper read", "reads_clean": None, "reads_mind": True}
    assert card_facts(card) == [("source", "paper read")]
    assert deviations(card) == []
