"""What carries its own hash: any values come back, and any change of them is found."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.seal import SEAL, UnsealedError, sealed, sealed_json, unsealed_json

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
VALUES = st.dictionaries(st.text().filter(SEAL.__ne__), PLAIN, min_size=1, max_size=4)


@given(VALUES)
def test_either_form_gives_the_values_back(values) -> None:
    assert unsealed_json(sealed_json(values)) == values
    assert unsealed_json(json.dumps(sealed(values), indent=1)) == values
    assert json.loads(sealed_json(values)) == sealed(values)


@given(VALUES)
def test_the_hash_is_that_of_the_canonical_json(values) -> None:
    """As anybody can work it out with the standard library."""
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"))
    assert sealed(values)[SEAL] == hashlib.sha256(canonical.encode()).hexdigest()


@given(VALUES, st.data())
def test_no_changed_character_goes_unseen(values, data) -> None:
    """Any but those that mean the same in JSON."""
    text = sealed_json(values)
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(codec="ascii", exclude_characters=text[place]))
    changed = text[:place] + other + text[place + 1 :]
    try:
        found = unsealed_json(changed)
    except ValueError:
        return
    assert found == values


def test_what_has_no_hash_is_called_older() -> None:
    with pytest.raises(UnsealedError):
        unsealed_json('{"a": 1}')
    with pytest.raises(ValueError, match="list"):
        unsealed_json("[1]")
