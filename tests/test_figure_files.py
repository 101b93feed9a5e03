"""The files of figures: their formats, fonts and colours."""

from __future__ import annotations

import io
import re
import zlib
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fontTools.ttLib import TTFont
from matplotlib.contour import QuadContourSet
from PIL import Image

from benchmark.errors import BenchmarkError
from benchmark.records import RunStore
from reports.build import build
from reports.figures.drawing import _few_cuts, _files
from reports.figures.layout import new_figure
from reports.figures.look import PAGE, Look, suffixes_of, width_of
from reports.figures.style import drawing
from reports.pictures import landscape_figures
from tests.test_paper_figures import drawn_with, few


def test_figures_share_a_cut_of_a_font_that_has_their_letters(tmp_path: Path) -> None:
    texts = {"one": "a mean λ = 0.5 ± η", "other": "worse: 42 % → ж"}
    with drawing():
        for name, text in texts.items():
            figure = new_figure(2, 1)
            figure.text(0.1, 0.5, text)
            figure.savefig(tmp_path / f"{name}-whole.pdf")
            with _few_cuts():
                figure.savefig(tmp_path / f"{name}.pdf")
            figure.savefig(tmp_path / f"{name}-after.pdf")
    for name, text in texts.items():
        whole, cut, after = (
            letters(tmp_path / f"{name}{kind}.pdf") for kind in ("-whole", "", "-after")
        )
        assert whole == after  # what is shared is shared between these figures only
        for letter in set(text) - {" "}:
            assert cut[letter] == whole[letter]
    assert "ж" not in letters(tmp_path / "one.pdf")
    assert content(tmp_path / "one.pdf")[0] == content(tmp_path / "other.pdf")[0]
    assert not any("GPOS" in font or "GSUB" in font for font in fonts(tmp_path / "one.pdf"))


def letters(path: Path) -> dict[str, Any]:
    """Each letter's outline in a PDF's fonts."""
    found = {}
    for font in fonts(path):
        table = font["glyf"]
        for code, name in font.getBestCmap().items():
            found[chr(code)] = list(table[name].getCoordinates(table)[0])
    return found


def fonts(path: Path) -> list[TTFont]:
    """The fonts in a PDF."""
    return [TTFont(io.BytesIO(one)) for one in content(path)]


def content(path: Path) -> list[bytes]:
    """The font files in a PDF."""
    found = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", path.read_bytes(), re.DOTALL)
    plain = []
    for stream in found:
        with suppress(zlib.error):
            plain.append(zlib.decompress(stream))
    return [one for one in plain if one.startswith(b"\0\1\0\0")]


def test_every_level_of_a_landscape_has_its_own_colour_in_the_picture(store: RunStore) -> None:
    """A palette of 256 colours made some of them one."""
    look = replace(PAGE, metrics=("MAE",))
    found = drawn_with(few(store, 3), look, landscape_figures)
    ((_, figure),) = found.values()
    with drawing():
        files = _files(figure, look)
    with Image.open(io.BytesIO(files[".png"])) as picture:
        dots = np.asarray(picture.convert("RGB")).reshape(-1, 3).astype(int)
    present = np.unique(dots, axis=0)
    levels = 0
    for contours in figure.findobj(QuadContourSet):
        for colour, path in zip(contours.get_facecolor(), contours.get_paths(), strict=False):
            if contours.filled and len(path):
                levels += 1
                assert np.abs(present - 255 * colour[:3]).max(axis=1).min() <= 1
    assert levels > 20


def test_files_have_the_formats_asked_for_and_no_type_3_fonts(
    store: RunStore, tmp_path: Path
) -> None:
    few(store, 2)
    look = Look(width_of("column"), suffixes=suffixes_of(["pdf", "svg"]))
    (built,) = build(store, None, tmp_path, look=look)
    assert {path.suffix for path in built.figures} == {".png", ".pdf", ".svg"}
    for path in built.figures:
        assert path.stat().st_size > 500
        if path.suffix == ".pdf":
            content = path.read_bytes()
            assert b"/Type3" not in content
            assert b"/CIDFontType2" in content
    for wrong in ("wide", "1", "nan", "-3"):
        with pytest.raises(BenchmarkError, match="--figure-width"):
            width_of(wrong)
    with pytest.raises(BenchmarkError, match="unknown figure format 'jpg'"):
        suffixes_of(["jpg"])
