"""What several captions of a page say, said once: notes with numbers that captions refer to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup


@dataclass(frozen=True)
class Notes:
    """The sentences that more than one caption has.

    Attributes:
        sentences: in the order of their first use; they are numbered from 1.
    """

    sentences: tuple[str, ...]

    @staticmethod
    def of(captions: Sequence[Sequence[str]]) -> Notes:
        """The notes of a page with these captions."""
        counted = Counter(sentence for one in captions for sentence in dict.fromkeys(one))
        return Notes(tuple(sentence for sentence, count in counted.items() if count > 1))

    def caption(self, sentences: Sequence[str]) -> Markup:
        """What is particular about a table or figure, and the numbers of the notes on it."""
        numbers = sorted(self.sentences.index(one) + 1 for one in sentences if self._has(one))
        own = " ".join(one for one in sentences if not self._has(one))
        links = [Markup('<a href="#note-{0}">{0}</a>').format(number) for number in numbers]
        where = Markup(", ").join(links)
        if where:
            where = Markup("Note{} {}").format("s" if len(numbers) > 1 else "", where)
        return (
            Markup('<p class="caption">{} {}</p>').format(own, where) if own or where else Markup()
        )

    def _has(self, sentence: str) -> bool:
        return sentence in self.sentences
