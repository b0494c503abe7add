"""The spaCy component `bilstm_crf_tagger`, and the tokenizer of this toolkit for spaCy.

    nlp = spacy.blank("en")
    nlp.add_pipe("bilstm_crf_tagger", config={"model": "USER/NAME"})
    print([(entity.text, entity.label_, entity._.probability) for entity in nlp("Ada Velde lives in Paris.").ents])

The component tags spaCy's own tokens, whichever tokenizer made them; tokens of white space are left out. The sentences
are those of the document if it has some, else they are split by the rules of this toolkit.

spaCy imports this module for every pipeline, so that it imports torch only for the component.
"""

import re
from bisect import bisect
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import StringIO
from itertools import chain, groupby, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from spacy import Language, blank, registry, util
from spacy.pipeline import Pipe
from spacy.scorer import Scorer, get_ner_prf
from spacy.tokens import Doc, Span, Token

from tagger.choices import Newline, list_briefly
from tagger.data.document_context import PassageNumbering
from tagger.data.formats import text as text_format
from tagger.data.sentence import Record, Sentence
from tagger.errors import ConfigError
from tagger.tagging.texts import passage_tokens

if TYPE_CHECKING:
    from tagger.tagging import DecodingOptions, Tagger

NAME, TOKENIZER = "bilstm_crf_tagger", "bilstm_crf_tagger.tokenizer.v1"
Target = Literal["ents", "tag", "pos"]
"""What the component sets: `doc.ents`, `token.tag_` or `token.pos_`."""
_UPOS = frozenset(
    "ADJ ADP ADV AUX CCONJ DET INTJ NOUN NUM PART PRON PROPN PUNCT SCONJ SYM VERB X".split()  # noqa: SIM905
)
_PARAGRAPH_ENDS = {"break": re.compile(r"\n"), "space": re.compile(r"\n(?=[^\S\n]*(?:\n|\Z))")}
_SURROGATE = re.compile("[\ud800-\udfff]")
_MARK = "\ufeff"  # the byte-order mark, which a file may start with

for _kind in (Span, Token):
    if not _kind.has_extension("probability"):
        _kind.set_extension("probability", default=None)


@Language.factory(  # type: ignore[untyped-decorator]
    NAME,
    assigns=["doc.ents", "token.ent_iob", "token.ent_type", "token.tag", "token.pos"],
    default_config={
        "model": None,
        "revision": None,
        "device": "auto",
        "annotate": None,
        "overwrite_ents": False,
        "probabilities": True,
        "threshold": None,
        "precision": None,
        "newline": "break",
        "workers": None,
    },
    default_score_weights={"ents_f": 1.0, "ents_p": 0.0, "ents_r": 0.0, "ents_per_type": None},
)
def create_component(
    nlp: Language,
    name: str,
    *,
    model: str | None,
    revision: str | None,
    device: str,
    annotate: Target | None,
    overwrite_ents: bool,
    probabilities: bool,
    threshold: float | None,
    precision: float | None,
    newline: Newline,
    workers: int | None,
) -> "TaggerComponent":
    """Returns the component; spaCy calls this function for `nlp.add_pipe("bilstm_crf_tagger")`.

    Args:
        nlp: the pipeline.
        name: the name of the component in the pipeline.
        model: a model directory, or a name on the Hub as for `tagger.load`; None if the model is read from the disk or
            bytes of a pipeline. It is loaded at the first use.
        revision: the revision on the Hub.
        device: auto, cpu, cuda or cuda:N.
        annotate: ents, tag or pos; None for ents if the model finds spans, pos if its tags are those of Universal
            Dependencies, else tag.
        overwrite_ents: an entity of the model replaces entities of earlier components that it overlaps; otherwise
            entities of earlier components stay, and the model's that overlap them are left out.
        probabilities: set `span._.probability` and `token._.probability`.
        threshold: leave out spans with a lower probability.
        precision: leave out spans below the threshold of their type that has at least this precision.
        newline: break ends a sentence at each newline, space only at blank lines; if the document has no sentences.
        workers: number of threads on a CPU; None for all CPU cores.

    Raises:
        ConfigError: an option is not valid, or torch is not installed.
    """
    try:
        from tagger.tagging.decoding import DecodingOptions
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ConfigError(f"the component {NAME} needs torch; run `pip install torch`") from None
    options = DecodingOptions(probabilities, threshold, precision=precision)
    loading = _Loading(model, revision, device, workers)
    return TaggerComponent(name, loading, _Annotating(annotate, overwrite_ents, newline), options)


class _Loading(NamedTuple):
    """Where the model of a component comes from, and how it is computed."""

    model: str | None
    revision: str | None
    device: str
    workers: int | None


class _Annotating(NamedTuple):
    """What a component sets, and how it reads documents."""

    target: Target | None
    overwrite_ents: bool
    newline: Newline


class _Model(NamedTuple):
    """A loaded model, and what is stored with it."""

    tagger: "Tagger"
    metrics: dict[str, Any]
    card: bytes | None


class TaggerComponent(Pipe):  # type: ignore[misc]
    """A component of a spaCy pipeline that tags with a model.

    Args:
        name: its name in the pipeline.
        loading: where the model comes from.
        annotating: what it sets, and how it reads documents.
        options: how it decodes.
    """

    def __init__(self, name: str, loading: _Loading, annotating: _Annotating, options: "DecodingOptions") -> None:
        self.name = name
        self._loading, self._annotating, self._options = loading, annotating, options
        self._model: _Model | None = None

    @property
    def tagger(self) -> "Tagger":
        """The tagger; the first access loads it.

        Raises:
            ConfigError: the component has no model, or the model does not fit its options.
            ModelError: the model is missing or damaged.
        """
        return self._load().tagger

    def _load(self) -> _Model:
        from tagger import model_names

        if self._model is None:
            if self._loading.model is None:
                raise ConfigError(f'{self.name}: has no model; pass one: nlp.add_pipe("{NAME}", config={{"model": …}})')
            self._model = self._read(
                model_names.find(self._loading.model, self._loading.revision, is_prefix_optional=True)
            )
        return self._model

    def _read(self, directory: Path) -> _Model:
        from tagger import model_dir
        from tagger.device import select_device
        from tagger.tagging import Tagger

        model, metrics = model_dir.load(directory)
        tagger = Tagger(model, select_device(self._loading.device), workers=self._loading.workers)
        _find_target(tagger, self._annotating.target)
        return _Model(tagger, metrics, model_dir.read_card(directory))

    @property
    def target(self) -> Target:
        """What the component sets: ents, tag or pos."""
        return _find_target(self.tagger, self._annotating.target)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the entities, or the tags, that the component sets; none before the model is loaded."""
        if self._model is None:  # spaCy asks for labels before it reads the model of a pipeline
            return ()
        return self.tagger.span_types or self.tagger.model.tags.items

    def __call__(self, doc: Doc) -> Doc:
        """Returns the document, annotated."""
        return next(self.pipe([doc]))

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 1000) -> Iterator[Doc]:
        """Yields documents, annotated; those of a batch are tagged together."""
        handle_error = self.get_error_handler()
        for docs in util.minibatch(stream, size=batch_size):
            try:
                self._annotate(docs)
            except Exception as error:
                handle_error(self.name, self, docs, error)
            else:
                yield from docs

    def _annotate(self, docs: Sequence[Doc]) -> None:
        target, passages = self.target, PassageNumbering()
        read = [_read_sentences(doc, self._annotating.newline) for doc in docs]
        numbered = (
            _number_passages(number, doc, sentences, passages, self._annotating.newline)
            for number, (doc, sentences) in enumerate(zip(docs, read, strict=True))
        )
        tagged = self.tagger.stream(chain.from_iterable(numbered), self._options)
        for doc, sentences in zip(docs, read, strict=True):
            pairs = [(positions, next(tagged)) for positions, _ in sentences]
            if target == "ents":
                self._set_entities(doc, pairs)
            else:
                _set_tags(doc, pairs, target)
            if self._options.probabilities:
                _set_probabilities(doc, pairs)

    def _set_entities(self, doc: Doc, pairs: Sequence[tuple[Sequence[int], Sentence]]) -> None:
        """Sets the entities of a document."""
        entities, probabilities = [], []
        for positions, sentence in pairs:
            for span in sentence.spans:
                start, end = positions[span.start], positions[span.end - 1] + 1
                entities.append(Span(doc, start, end, span.type))
                probabilities.append(span.probability)
        first, second = (entities, doc.ents) if self._annotating.overwrite_ents else (doc.ents, entities)
        if first and second:
            taken = {position for entity in first for position in range(entity.start, entity.end)}
            second = [entity for entity in second if taken.isdisjoint(range(entity.start, entity.end))]
        doc.ents = sorted([*first, *second], key=lambda entity: entity.start)
        if self._options.probabilities:
            present = {(entity.start, entity.end, entity.label) for entity in doc.ents}
            for entity, probability in zip(entities, probabilities, strict=True):
                if (entity.start, entity.end, entity.label) in present:
                    entity._.probability = probability

    def initialize(self, get_examples: Callable[[], Any], *, nlp: Any = None, **_: Any) -> None:
        """Loads the model; the component is not trained by spaCy."""
        self._load()

    def score(self, examples: Iterable[Any], **_: Any) -> dict[str, Any]:
        """Returns the scores of `nlp.evaluate`."""
        if self.target == "ents":
            result: dict[str, Any] = get_ner_prf(examples)
            return result
        return dict(Scorer.score_token_attr(examples, self.target))

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """Writes the model as a model directory, which `tagger tag` can read too.

        Raises:
            StorageError: the directory cannot be written, or exists and is no model.
        """
        from tagger import model_dir

        if "model" not in exclude:
            loaded = self._load()
            model_dir.save(loaded.tagger.model, Path(path), loaded.metrics, card=loaded.card)

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> "TaggerComponent":
        """Reads the model that `to_disk` wrote, verified, in place of the one that the config names.

        Raises:
            ModelError: the model is missing or damaged.
        """
        if "model" not in exclude:
            self._model = self._read(Path(path))
        return self

    def to_bytes(self, *, exclude: Iterable[str] = ()) -> bytes:
        """Returns the files of the model."""
        with TemporaryDirectory() as folder:
            path = Path(folder) / "model"
            self.to_disk(path, exclude=exclude)
            files = {file.name: file.read_bytes() for file in path.iterdir()} if path.exists() else {}
        return bytes(util.to_bytes({name: files[name].__bytes__ for name in sorted(files)}, ()))

    def from_bytes(self, data: bytes, *, exclude: Iterable[str] = ()) -> "TaggerComponent":
        """Reads the model of `to_bytes`, verified, in place of the one that the config names.

        Raises:
            ModelError: the model is damaged.
        """
        from tagger import model_dir

        files: dict[str, bytes] = {}
        names = model_dir.MAX_PUBLISHED_BYTES
        setters = {name: lambda content, name=name: files.update({name: content}) for name in names}
        util.from_bytes(data, setters, ())
        if files and "model" not in exclude:
            with TemporaryDirectory() as folder:
                for name, content in files.items():
                    (Path(folder) / name).write_bytes(content)
                self.from_disk(folder)
        return self


def _find_target(tagger: "Tagger", wanted: Target | None) -> Target:
    """Returns what a component sets with a model.

    Raises:
        ConfigError: the model has no such tags.
    """
    tags = tagger.model.tags.items
    if tagger.model.scheme is not None:
        if wanted not in (None, "ents"):
            raise ConfigError(f"`annotate` is {wanted!r}, but the model finds spans; omit it or set it to 'ents'")
        return "ents"
    if wanted == "ents":
        raise ConfigError("`annotate` is 'ents', but the model has plain tags; set it to 'tag' or 'pos'")
    unknown = [tag for tag in tags if tag not in _UPOS]
    if wanted == "pos" and unknown:
        raise ConfigError(
            f"`annotate` is 'pos', but spaCy has no parts of speech {list_briefly(unknown)}; set it to 'tag'"
        )
    return wanted or ("tag" if unknown else "pos")


def _read_sentences(doc: Doc, newline: Newline) -> list[tuple[list[int], tuple[str, ...]]]:
    """Returns the positions and the texts of the tokens of each sentence, without white space."""
    words = [token.text for token in doc]
    if not words:
        return []
    if doc.has_annotation("SENT_START"):
        bounds = [sentence.start for sentence in doc.sents] + [len(words)]
        ranges: Iterable[Iterable[int]] = (range(start, end) for start, end in pairwise(bounds))
    else:
        ranges = _split(words, newline)
    positions = ([position for position in each if words[position].strip().strip(_MARK)] for each in ranges)
    return [(each, tuple([words[position] for position in each])) for each in positions if each]


def _split(words: Sequence[str], newline: Newline) -> Iterator[list[int]]:
    """Yields the positions of the tokens of each sentence, by the rules for texts."""
    ends = _PARAGRAPH_ENDS[newline]
    numbered = (
        (" " if newline == "space" and word.isspace() and not ends.search(word) else word, position, position + 1)
        for position, word in enumerate(words)
    )
    for _, bounds in text_format.split_tokens(numbered):
        yield [position for position, _ in bounds]


def _number_passages(
    document: int,
    doc: Doc,
    sentences: Sequence[tuple[list[int], tuple[str, ...]]],
    passages: PassageNumbering,
    newline: Newline,
) -> Iterator[Sentence]:
    """Yields sentences with the number of their passage, as those of a file: passages end at ends of paragraphs."""
    text = doc.text
    ends = [match.end() for match in _PARAGRAPH_ENDS[newline].finditer(text)]
    bounds = [0, *ends, len(text)]
    for number, group in groupby(sentences, key=lambda sentence: bisect(ends, doc[sentence[0][0]].idx)):
        plain = [Sentence(tokens) for _, tokens in group]
        tokens = passage_tokens(Record(tuple(plain), size=bounds[number + 1] - bounds[number]))
        passage = passages.assign(document, tokens)
        yield from (Sentence(sentence.tokens, document=passage) for sentence in plain)


def _set_tags(doc: Doc, pairs: Sequence[tuple[Sequence[int], Sentence]], target: Target) -> None:
    """Sets the tags or parts of speech of a document; tokens of white space get those of spaCy."""
    attribute = f"{target}_"
    tags = ["_SP" if target == "tag" else "SPACE"] * len(doc)
    for positions, sentence in pairs:
        for position, tag in zip(positions, sentence.tags, strict=True):
            tags[position] = tag
    for token, tag in zip(doc, tags, strict=True):
        setattr(token, attribute, tag)


def _set_probabilities(doc: Doc, pairs: Sequence[tuple[Sequence[int], Sentence]]) -> None:
    """Sets the probabilities of tokens: of the tag or, within a span, of the span."""
    for positions, sentence in pairs:
        for position, probability in zip(positions, sentence.probabilities, strict=True):
            doc[position]._.probability = probability


@registry.tokenizers(TOKENIZER)  # type: ignore[untyped-decorator]
def create_tokenizer(language: str | None = None, newline: Newline = "break") -> Callable[[Any], "TextTokenizer"]:
    """Returns a function that creates the tokenizer of `tagger tag` for raw text, for a pipeline of spaCy.

    Args:
        language: the ISO code of the language; None for that of the pipeline.
        newline: break ends a sentence at each newline; space only at blank lines, for hard-wrapped text.
    """
    return lambda nlp: TextTokenizer(nlp.vocab, language or nlp.lang, newline)


def create_blank(language: str = "en", *, newline: Newline = "break") -> Any:
    """Returns a blank pipeline of spaCy with the tokens and sentences of `tagger tag`.

    Args:
        language: the ISO code of the language.
        newline: as for `create_tokenizer`.
    """
    return blank(language, config={"nlp": {"tokenizer": {"@tokenizers": TOKENIZER, "newline": newline}}})


class TextTokenizer:
    """Splits texts as `tagger tag` does, into tokens and sentences; white space between them stays in the document.

    Args:
        vocab: the vocabulary of the pipeline.
        language: the ISO code of the language.
        newline: break ends a sentence at each newline; space only at blank lines.
    """

    def __init__(self, vocab: Any, language: str, newline: Newline = "break") -> None:
        self.vocab = vocab
        self._language, self._newline = language, newline

    def __call__(self, text: str) -> Doc:
        """Returns the document of a text; lone surrogates, which spaCy refuses, become U+FFFD."""
        text = _SURROGATE.sub("\ufffd", text)
        words: list[str] = []
        spaces: list[bool] = []
        starts: list[bool] = []
        end = 0
        lines = enumerate(StringIO(text, newline="\n"), 1)
        for record in text_format.read(lines, "", self._language, newline=self._newline):
            for sentence in record.sentences:
                is_start = True
                for word, (first, last) in zip(sentence.tokens, sentence.offsets, strict=True):
                    if first > end:
                        _add_gap(text[end:first], words, spaces, starts)
                    words.append(word)
                    spaces.append(False)
                    starts.append(is_start)
                    is_start, end = False, last
        if end < len(text):
            _add_gap(text[end:], words, spaces, starts)
        return Doc(self.vocab, words=words, spaces=spaces, sent_starts=starts)

    def to_bytes(self, **_: Any) -> bytes:
        """Returns nothing: the config of the pipeline holds the settings."""
        return b""

    def from_bytes(self, _data: bytes, **_: Any) -> "TextTokenizer":
        """Returns the tokenizer."""
        return self

    def to_disk(self, _path: str | Path, **_: Any) -> None:
        """Writes nothing: the config of the pipeline holds the settings."""

    def from_disk(self, _path: str | Path, **_: Any) -> "TextTokenizer":
        """Returns the tokenizer."""
        return self


def _add_gap(gap: str, words: list[str], spaces: list[bool], starts: list[bool]) -> None:
    """Adds white space: a first space belongs to the token before it, the rest is a token."""
    if words and gap.startswith(" "):
        spaces[-1] = True
        gap = gap[1:]
    if gap:
        words.append(gap)
        spaces.append(False)
        starts.append(False)
