"""What a training starts with: the types or tags of each part of the data, the selecting score, and warnings."""

import logging
from collections import Counter
from collections.abc import Mapping

from tagger.choices import Selection, list_briefly
from tagger.config import Config
from tagger.data import schemes
from tagger.data.stored_sentences import count_annotated_types, count_pairs
from tagger.evaluation import SCORE_NAMES, find_selection
from tagger.training.corpora import Corpora

log = logging.getLogger(__name__)

_MAX_ROWS = 12
_MAX_NAME = 30


def log_overview(config: Config, data: Corpora) -> None:
    """Logs a table of types, or plain tags, by part of the data; the score that selects the best epoch; and warnings.

    Warnings are for types or tags that the training data lacks, and for dev data that cannot select an epoch.
    """
    parts = {"train": data.train, "dev": data.dev} | ({"test": data.test} if data.test else {})
    pairs = {name: count_pairs(corpus.sentences) for name, corpus in parts.items()}
    has_spans = schemes.detect_by_pairs(pairs["train"]).scheme is not None
    counts = {name: schemes.count_labels(each, has_spans=has_spans) for name, each in pairs.items()}
    for line in _table("type" if has_spans else "tag", counts):
        log.info("%s", line)
    selection = find_selection(config, has_spans=has_spans)
    log.info("the best epoch is the one with the highest %s on dev", _describe(selection, has_spans=has_spans))
    if not counts["train"].keys() - {schemes.OUTSIDE}:
        log.warning("%s has only the tag O; is data.tag the right column?", data.train.name)
    annotated = {kind for types in count_annotated_types(data.train.sentences) for kind in types or ()}
    if absent_types := sorted(annotated - counts["train"].keys()):
        log.warning(
            "annotated_types has types without a span in %s: %s; are the names right?",
            data.train.name,
            list_briefly(absent_types),
        )
    for name, corpus in parts.items():
        absent = {kind: count for kind, count in counts[name].items() if kind not in counts["train"]}
        if absent:
            kinds = "types" if has_spans else "tags"
            log.warning("%s has %s that the training data lacks: %s", corpus.name, kinds, _list(absent))
    if selection != "accuracy" and not counts["dev"].keys() - ({schemes.OUTSIDE} if selection == "f1" else set()):
        missing = "no spans" if has_spans else "only the tag O"
        log.warning(
            "%s has %s, so that it cannot select an epoch: the last epoch is kept as the best", data.dev.name, missing
        )


def _table(title: str, counts: Mapping[str, Counter[str]]) -> list[str]:
    """Returns the lines of a table with a row for each of the most frequent names and a column for each part."""
    total: Counter[str] = sum(counts.values(), Counter())
    names = sorted(total, key=lambda name: (-counts["train"][name], -total[name], name))
    frequent = names if len(names) <= _MAX_ROWS else names[: _MAX_ROWS - 1]
    space = max((len(name[:_MAX_NAME]) for name in (*frequent, title)), default=0)
    lines = ["".join([f"{title:{space}}", *(f"{part:>9}" for part in counts)])]
    for name in frequent:
        lines.append("".join([f"{name[:_MAX_NAME]:{space}}", *(f"{each[name]:>9}" for each in counts.values())]))
    if len(frequent) < len(names):
        lines.append(f"… and {len(names) - len(frequent)} more")
    return lines


def _describe(selection: Selection, *, has_spans: bool) -> str:
    whole = {
        "f1": "of spans" if has_spans else "of tags other than O",
        "macro_f1": "over types" if has_spans else "over tags",
    }
    return f"{SCORE_NAMES[selection]} {whole[selection]}" if selection in whole else SCORE_NAMES[selection]


def _list(counts: Mapping[str, int]) -> str:
    """Returns the ten most frequent names with their counts."""
    names = sorted(counts, key=lambda name: (-counts[name], name))
    return list_briefly([f"{name[:_MAX_NAME]} ({counts[name]})" for name in names])
