"""An oracle: conlleval of CoNLL-2000 (Tjong Kim Sang), carried over; it shares no code with the package."""

from collections import Counter
from collections.abc import Iterable, Sequence

_ENDS = {("B", "B"), ("B", "O"), ("I", "B"), ("I", "O"), ("E", "E"), ("E", "I"), ("E", "O")}
_STARTS = {("B", "B"), ("I", "B"), ("O", "B"), ("O", "I"), ("E", "E"), ("E", "I"), ("O", "E")}


def _parts(tag: str) -> tuple[str, str]:
    prefix, _, kind = tag.partition("-")
    return prefix, kind


def _end_of_chunk(before: tuple[str, str], now: tuple[str, str]) -> bool:
    return (before[0], now[0]) in _ENDS or (before[0] != "O" and before[1] != now[1])


def _start_of_chunk(before: tuple[str, str], now: tuple[str, str]) -> bool:
    return (before[0], now[0]) in _STARTS or (now[0] != "O" and before[1] != now[1])


def chunks(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """Returns (type, start, end) of each chunk, the end exclusive."""
    found, start, before = [], 0, ("O", "")
    for position, now in enumerate(map(_parts, (*tags, "O"))):
        if _end_of_chunk(before, now):
            found.append((before[1], start, position))
        if _start_of_chunk(before, now):
            start = position
        before = now
    return found


def count(pairs: Iterable[tuple[Sequence[str], Sequence[str]]]) -> dict[str, Counter[str]]:
    """Returns conlleval's counters over (gold, guessed) sentences: correct, gold and guessed chunks by type; tokens."""
    counts = {name: Counter[str]() for name in ("correct", "gold", "guessed", "tokens")}
    for gold, guessed in pairs:
        before, inside = (("O", ""), ("O", "")), False
        for left, right in [*zip(gold, guessed, strict=True), ("O", "O")]:
            now = _parts(left), _parts(right)
            ends = [_end_of_chunk(*each) for each in zip(before, now, strict=True)]
            starts = [_start_of_chunk(*each) for each in zip(before, now, strict=True)]
            if inside and all(ends) and before[0][1] == before[1][1]:
                inside = False
                counts["correct"][before[0][1]] += 1
            elif inside and (ends[0] != ends[1] or now[0][1] != now[1][1]):
                inside = False
            if all(starts) and now[0][1] == now[1][1]:
                inside = True
            counts["gold"][now[0][1]] += starts[0]
            counts["guessed"][now[1][1]] += starts[1]
            before = now
        counts["tokens"]["all"] += len(gold)
        counts["tokens"]["right"] += sum(map(str.__eq__, gold, guessed))
    return {name: +counter for name, counter in counts.items()}


def scores(correct: int, gold: int, guessed: int) -> tuple[float, float, float]:
    """Returns precision, recall and F1 in percent."""
    precision = 100 * correct / guessed if guessed else 0.0
    recall = 100 * correct / gold if gold else 0.0
    return precision, recall, 2 * precision * recall / (precision + recall) if correct else 0.0
