"""The Python API of `tagger score`."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from tagger import choices
from tagger.choices import Misaligned, Repair, Scheme, TagFormat, TaggedFormat, check_choices
from tagger.data.sentence import Sentence
from tagger.data.tagged_files import FileOptions
from tagger.errors import ConfigError
from tagger.evaluation import SystemScores, systems
from tagger.evaluation.system_files import Source, SystemFiles


def score(
    gold: str | Path | Sequence[Sentence],
    predicted: str | Path | Sequence[Sentence] | Sequence[str | Path] | None = None,
    *,
    predicted_column: int | str | None = None,
    repair: Repair = "conlleval",
    tag_scheme: str | None = None,
    input_format: TaggedFormat | None = None,
    token_column: int | str | None = None,
    tag_column: int | str | None = None,
    tag_format: TagFormat | None = None,
    outside_tag: str | None = None,
    unknown_tag: str | None = None,
    misaligned: Misaligned | None = None,
    annotated_types: Sequence[str] | None = None,
    language: str = "en",
) -> SystemScores:
    """Returns the scores of the output of any system, as `tagger score` prints them.

    Scores of spans equal those of conlleval. Gold and predicted data hold the same tokens in the same sentences.

        scores = tagger.score("gold.conll", ["first.conll", "second.jsonl"])
        print(scores.systems[0].report.f1, scores.systems[0].interval)

    Args:
        gold: a tagged file of any format, or sentences.
        predicted: a file, sentences, or several files; None for a column of the gold file.
        predicted_column: the column of the predicted tags, by number from 0, negative from the end, or by name; None
            for the column of the gold tags in another file.
        repair: how invalid tag sequences of both are read: `conlleval` by its rules, `discard` without the invalid
            spans, `none` to refuse them.
        tag_scheme: the scheme of gold and predicted tags, in which tags are valid; None for that of each file.
        input_format: the format of all files; None for the format that each name and content show.
        token_column: the column of the token; in rows the field of tokens.
        tag_column: the column of the gold tag; in CoNLL-U upos, xpos or misc:KEY; in rows the field of tags or spans.
            None for the last, or with predictions in the same file the one before them.
        tag_format: how tags encode spans, one of `tagger.choices.TagFormat`; None for the format that each file shows.
        outside_tag: the tag of tokens outside spans; None for `O`.
        unknown_tag: the tag of tokens without annotation, which are not scored; None if all are annotated.
        misaligned: expand or contract spans that end within a token, drop them, or stop; None for expand.
        annotated_types: the types of spans that the gold data was annotated for; spans of other types are not scored.
            None for all types, or those of each record.
        language: the ISO code of the language of texts with spans.

    Raises:
        ConfigError: an option is unknown or does not fit a file.
        DataError: a file cannot be read, tokens differ, tags are of different kinds, or invalid and refused.
    """
    check_choices(
        repair=(repair, Repair),
        input_format=(input_format, TaggedFormat),
        tag_format=(tag_format, TagFormat),
        misaligned=(misaligned, Misaligned),
    )
    files = SystemFiles(
        FileOptions(input_format, token_column, tag_column, tag_format, misaligned, outside_tag),
        predicted_column,
        unknown_tag,
        language,
        annotated_types,
    )
    options = systems.ScoringOptions(_parse_scheme(tag_scheme), repair)
    if predicted is None:
        if not isinstance(gold, str | Path):
            raise ConfigError("`predicted` is missing; expected files or sentences")
        return SystemScores(str(gold), (systems.score(*files.read_both(gold), options)[0],))
    corpus = files.read_gold(gold)
    scores = (systems.score(corpus, files.read_predicted(source), options)[0] for source in _list_sources(predicted))
    return SystemScores(corpus.name, tuple(scores))


def _parse_scheme(name: str | None) -> Scheme | None:
    try:
        return None if name is None else choices.parse_scheme(name)
    except ValueError as error:
        raise ConfigError(f"`tag_scheme` {error}") from None


def _list_sources(predicted: str | Path | Sequence[Sentence] | Sequence[str | Path]) -> list[Source]:
    if isinstance(predicted, str | Path):
        return [predicted]
    if not predicted:
        raise ConfigError("`predicted` is empty; expected files or sentences")
    if isinstance(predicted[0], Sentence):
        return [cast(Sequence[Sentence], predicted)]
    return list(cast(Sequence[str | Path], predicted))
