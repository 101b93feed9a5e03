"""What a caption must say: data, samples, seeds, selection, rules, versions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmark.metrics import METRIC_VERSION
from benchmark.questions import Question
from benchmark.systems import model_name
from protocols.conditions import PROTOCOL_VERSIONS
from protocols.modalities import MODALITIES
from protocols.regimes import ELSEWHERE
from protocols.rules import RULE_VERSIONS
from reports.comparable import like_for_like
from reports.results import Results
from reports.statistics.inference import LEVEL, SEEDS_NEEDED
from reports.views import view

MARKS = (
    "Bold is best and underlined second, only where the difference to every system ranked below "
    f"holds for new test samples and new trainings (p below {1 - LEVEL:.2g} by t over paired "
    f"samples and seeds together); with fewer than {SEEDS_NEEDED} seeds of one of two systems "
    "nothing is said of new trainings, and their difference is undecided."
)
INTERVAL_OF = (
    "Intervals are for new test samples and new trainings, by t over both; of a system with fewer "
    f"than {SEEDS_NEEDED} seeds, or a difference to one, for new test samples and these trainings "
    "only."
)
INTERVALS = (
    f"[low, high]: 95 % interval, cut to the metric's range. {INTERVAL_OF} Where a share is 0 or 1 "
    "in every sample and training, its inner end is the exact binomial's."
)
ONE_SYSTEM = "One system only, so nothing is marked as best."

_DOUBTFUL = {
    "reconstruction": "Reconstructed without the authors' source",
    "seen through a third party": "Rebuilt from what a third party shows of the source",
}
_SELECTION = {
    "mae": "the epoch with the lowest validation MAE",
    "acc": "the epoch with the highest validation accuracy",
}


def data_name(results: Results) -> str:
    """The data set's name, which says so where the data are synthetic."""
    if not results.synthetic:
        return results.dataset
    return (
        "synthetic data"
        if results.dataset == "synthetic"
        else f"{results.dataset} (synthetic data)"
    )


def data_sentence(results: Results) -> str:
    """The data set, whether it is synthetic, its test samples and the modalities it has."""
    text = f"Data: {data_name(results)}, {len(results.label)} test samples"
    if len(results.present) < len(MODALITIES):
        text += f", {' and '.join(results.present)} only"
    lacking = [f"{count} lack {m}" for m, count in results.records[0].table.lacking.items()]
    return text + (f", of which by nature {', '.join(lacking)}." if lacking else ".")


def common(results: Results, questions: Iterable[Question]) -> tuple[str, ...]:
    """The sentences of every table's caption.

    Args:
        results: what the table is about.
        questions: the conditions in it, for the rules and versions to name.
    """
    seeds = sorted({seed for system in results.systems for seed in system.seeds})
    sentences = [
        data_sentence(results),
        _seeds(seeds),
        *_selection(results),
        *_rules(results, list(questions)),
    ]
    for source, meaning in _DOUBTFUL.items():
        titles = sorted(
            {
                model_name(s.title, "", s.records[0].spec.preset)
                for s in results.systems
                if s.source == source
            }
        )
        if titles:
            sentences.append(f"{meaning}: {', '.join(titles)}.")
    return tuple(sentences)


def _selection(results: Results) -> list[str]:
    """By what checkpoints were selected, and of which systems nobody here knows."""
    trained = [r.spec.training for r in results.records if r.spec.training is not None]
    selected = sorted({training.select_on for training in trained})
    chosen = " or ".join(_SELECTION.get(name, f"validation {name}") for name in selected)
    elsewhere = sorted({s.title for s in results.systems if s.regime.kind == "elsewhere"})
    return [
        *([f"Selected: {chosen}."] if chosen else []),
        *([f"{ELSEWHERE.capitalize()}: {', '.join(elsewhere)}."] if elsewhere else []),
    ]


def _seeds(seeds: list[int]) -> str:
    if len(seeds) == 1:
        return f"One seed ({seeds[0]})."
    return f"Mean ± standard deviation over seeds ({', '.join(map(str, seeds))})."


def _rules(results: Results, questions: list[Question]) -> list[str]:
    noise = sorted({p.noise_rule for p in questions} - {""})
    missing = sorted({p.missing_rule for p in questions} - {""})
    sentences = []
    if noise:
        asked = {(q.noise_rule, q.joint) for q in questions if q.noise_rule}
        found = {r.table.index.draws.get(pair, 0) for r in results.records for pair in asked} - {0}
        draws = sorted(found) or [0]
        counted = f"{draws[0]}" if len(draws) == 1 else f"{draws[0]} to {draws[-1]}"
        plural = "draw" if draws[-1] == 1 else "draws"
        sentences.append(f"Noise rule {', '.join(noise)}, mean over {counted} corruption {plural}.")
    if missing:
        sentences.append(f"Missing rule {', '.join(missing)}, exact expectation.")
    most = 1 - 1 / len(results.present)
    if any(p.missing_rule == "at_least_one" and p.rate > most for p in questions):
        sentences.append(
            f"It keeps one of {len(results.present)} modalities, so above η = {most:.2g} no more "
            "is missing."
        )
    return [*sentences, f"Versions: {', '.join(_versions(results, questions))}."]


def _versions(results: Results, questions: Sequence[Question]) -> list[str]:
    """Of what the numbers mean, and of what made the rows that they are read off."""
    asked = {q.protocol for q in questions}
    found = [f"{p} {v}" for p, v in PROTOCOL_VERSIONS.items() if p in asked and p != "III"]
    if any(q.missing_rule for q in questions):
        found.append(f"missing {RULE_VERSIONS['missing']}")
    kinds = {("none", ""), *((q.noise_rule, q.joint) for q in questions if q.noise_rule)}
    made = {version for kind in kinds for version in results.versions.get(kind, ())}
    parts = dict.fromkeys(part for one in sorted(sorted(made), key=len) for part in one.split(", "))
    return [*found, f"metrics {METRIC_VERSION[results.task]}", *parts]


def published_sentences(results: Results, source: str) -> tuple[str, ...]:
    """Where the published numbers are from, and why they may not be like for like."""
    text = f"Published: QA-MoE paper, {source}; difference: measured minus published."
    if len(results.present) < len(MODALITIES):
        text += (
            f" The published systems had text, audio and vision, these runs only "
            f"{' and '.join(results.present)}: not like for like."
        )
    features = like_for_like(results.dataset, results.records[0])
    return (text, features) if features else (text,)


def condition_name(available: str) -> str:
    """A subset as a column heading: "ta" -> "{t, a}"."""
    return "{" + ", ".join(available) + "}"


def floor_note(has_floors: bool) -> tuple[str, ...]:
    """What the floor rows are, or that they are missing."""
    if has_floors:
        return ("Floors predict one constant for every sample, whatever the input.",)
    return ("Floors are missing: these records do not keep the train split's constants.",)


def metric_note(results: Results, metrics: Iterable[str]) -> tuple[str, ...]:
    """The rules behind the short names of the metrics, and where labels do not fit them."""
    rules = {
        "acc2_non0": "ACC2 and F1: negative against positive, samples labelled 0 left out; "
        "F1 weighted by true support.",
        "acc7": "ACC7: predictions and labels rounded to −3 … 3.",
        "f1_weighted": "F1 weighted by true support.",
    }
    shown = set(metrics)
    found = tuple(text for name, text in rules.items() if name in shown)
    low, high = results.label.min(), results.label.max()
    if "acc7" in shown and max(-low, high) <= 1:
        found += (
            f"The test labels lie in [{low:g}, {high:g}], where ACC7 tells three classes apart at "
            "most: if their scale is [−1, 1], it is not the ACC7 of data on [−3, 3].".replace(
                "[-", "[−"
            ),
        )
    percent = [view(m).title for m in sorted(shown) if view(m).scale == 100]
    return (*found, "Accuracies and F1 in per cent.") if percent else found
