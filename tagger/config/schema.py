"""The tree of settings: each with its type, range, default and meaning."""

import re
from collections.abc import Collection, Sequence
from functools import reduce
from pathlib import PurePath
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from tagger import choices
from tagger.io import line_reader

Fraction = Annotated[float, Field(ge=0, lt=1)]
# Upper bounds keep a recipe of unknown origin from asking for impossible amounts of memory.
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
Name = Annotated[str, Field(min_length=1)]
Positive = Annotated[float, Field(gt=0, le=1e300)]
NotNegative = Annotated[float, Field(ge=0, le=1e300)]
Scheme = Annotated[
    choices.Scheme, BeforeValidator(lambda name: choices.parse_scheme(name) if isinstance(name, str) else name)
]
Layers = (
    Literal["all", "last"]
    | Annotated[tuple[Annotated[int, Field(ge=-200, le=200)], ...], Field(strict=False, min_length=1, max_length=100)]
)
Column = Annotated[int, Field(ge=-1_000_000, le=1_000_000)] | str
_CONLLU_TAG = r"upos|xpos|misc:.+"
_ROWS = ("jsonl", "json", "parquet", "datasets")


class UnusedSettingsError(ValueError):
    """Settings have no effect beside others.

    Args:
        names: their names, dotted from the section that is validated.
        condition: when they have no effect, such as `with kind none`.
    """

    def __init__(self, names: Sequence[str], condition: str) -> None:
        self.faults = {name: f"{name} has no effect {condition}; omit it" for name in names}
        super().__init__(", and ".join(self.faults.values()))


class Section(BaseModel):
    """A section of settings: frozen, strict about types, without unknown keys."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    def _refuse_unused(self, names: Collection[str], condition: str) -> None:
        """Raises UnusedSettingsError if settings that have no effect with a condition differ from their defaults.

        The names are dotted; that of an inner section stands for all its settings.
        """
        defaults = type(self).model_construct()
        if unused := [name for name in names if _value(self, name) != _value(defaults, name)]:
            raise UnusedSettingsError(unused, f"with {condition}")


def _value(section: Section, name: str) -> object:
    return reduce(getattr, name.split("."), section)


class Splits(Section):
    """Names of the dataset's splits; a split without a name is not read."""

    train: Name = Field("train", description="split to train on")
    dev: Name | None = Field("validation", description="split that selects the best epoch")
    test: Name | None = Field("test", description="split that is scored once after training")


class Fields(Section):
    """Names of the fields of rows: JSON lines, JSON, Parquet and datasets. Without a name, the usual ones are read."""

    text: Name | None = Field(None, description="text; null for `text`")
    spans: Name | None = Field(
        None, description="spans with offsets; null for `spans`, `label`, `labels`, `entities` or `ents`"
    )
    start: Name | None = Field(None, description="offset of a span's first character; null for `start`, `start_offset`")
    end: Name | None = Field(None, description="offset after a span's last character; null for `end`, `end_offset`")
    type: Name | None = Field(None, description="type of a span; null for `label`, `labels` or `type`")
    tokens: Name | None = Field(None, description="tokens; null for `tokens`")
    tags: Name | None = Field(None, description="tags, one per token; null for `tags` or `ner_tags`")


class Data(Section):
    """Files or dataset, and the columns of tokens and tags."""

    format: choices.CorpusFormat | None = Field(
        None,
        description="format of the data; `datasets` reads Hugging Face datasets; null for the format that the name and "
        "the content of each file show",
    )
    columns: tuple[str, ...] = Field((), strict=False, description="names of the columns, for use in `token` and `tag`")
    token: Column = Field(
        0,
        description="column of the token: a name, or a number from 0, negative from the end; in rows a field's name",
    )
    tag: Column = Field(
        -1, description="column of the tag; for CoNLL-U `upos`, `xpos` or `misc:KEY`; in rows a field's name"
    )
    tag_format: choices.TagFormat = Field(
        "auto",
        description="how tags encode spans: `prefix` B-PER or B_PER, `suffix` PER-B or PER_B, `types` PER in runs,"
        " `untyped` B and I, `brackets` (PER*; `plain` for tags without spans; `auto` decides by all tags",
    )
    outside_tag: Name = Field("O", description="tag of tokens outside spans, such as `-`, `_` or `OUT`")
    unknown_tag: str | None = Field(
        None, description="tag of tokens that were not annotated, such as `?`; in training they may have any tag"
    )
    annotated_types: tuple[Name, ...] | None = Field(
        None,
        strict=False,
        description="types of spans that the data was annotated for; outside its spans, tokens may be in spans of other"
        " types. null for all types",
    )
    comments: Name = Field(
        "auto",
        description="how comment lines of columns start, such as `#`; `auto` reads lines such as `# id 1` at the start"
        " of a sentence as comments, `none` reads every line as a token",
    )
    fields: Fields = Fields()
    scheme: Scheme = Field("IOBES", description="scheme in which spans are encoded for training")
    language: Annotated[str, Field(pattern="^[a-z]{2,3}$")] = Field(
        "en", description="language of texts that are split into tokens, as an ISO 639 code"
    )
    misaligned: choices.Misaligned = Field(
        "expand",
        description="treatment of a span that ends within a token: expanded or contracted to whole tokens, dropped, or "
        "the training stops; of overlapping spans the longest remains",
    )
    annotator: Name | None = Field(None, description="annotator whose annotations are read, if records have several")
    tag_names: tuple[str, ...] = Field((), strict=False, description="names of tags that are integers, from 0")
    tokenizer: str | None = Field(
        None, description="tokenizer that split the training texts; the training sets it in the model"
    )
    train: str | None = Field(None, description="training file, relative to the recipe's folder")
    dev: str | None = Field(
        None, description="development file; if null, `dev_fraction` of the training data is split off"
    )
    test: str | None = Field(None, description="test file, scored once after training")
    dataset: str | None = Field(
        None, description="name of a dataset on the Hugging Face Hub, or the path of its directory or parquet files"
    )
    revision: str | None = Field(None, description="revision of the dataset on the Hub; null for the newest")
    splits: Splits = Splits()
    dev_fraction: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.1, description="fraction of the training data to split off if there is no development data"
    )
    max_record_bytes: Annotated[int, Field(ge=1000, le=1 << 30)] = Field(
        line_reader.MAX_RECORD_BYTES, description="largest line or sentence to read, in bytes"
    )
    strict: bool = Field(
        False, description="refuse invalid tag sequences; otherwise they are read by the rules of conlleval"
    )

    @property
    def implied_format(self) -> choices.CorpusFormat | None:
        """The format that the settings ask for; None if the format is guessed for each file."""
        if self.format is not None:
            return self.format
        if self.dataset is not None:
            return "datasets"
        if self.columns or (isinstance(self.tag, int) and (self.token, self.tag) != (0, -1)):
            return "columns"
        return "conllu" if re.fullmatch(_CONLLU_TAG, str(self.tag)) else None

    @model_validator(mode="after")
    def _check_columns(self) -> Self:
        if self.unknown_tag is not None and self.tag_format in ("types", "brackets"):
            raise ValueError(f"unknown_tag cannot be combined with tag_format {self.tag_format}")
        if self.unknown_tag == self.outside_tag:
            raise ValueError(f"unknown_tag and outside_tag are both {self.outside_tag!r}")
        asked = self.implied_format
        for key, column in (("token", self.token), ("tag", self.tag)):
            named = isinstance(column, str)
            if asked == "columns" and named and column not in self.columns:
                raise ValueError(f"{key} '{column}' is not in columns {list(self.columns)}")
            if asked in _ROWS and not named and column != type(self).model_fields[key].get_default():
                raise ValueError(f"{key} must be the name of a field in the format {asked}, got {column}")
        if asked == "conllu" and not re.fullmatch(_CONLLU_TAG, str(self.tag)):
            raise ValueError(f"tag must be upos, xpos or misc:KEY in CoNLL-U, got {self.tag!r}")
        if asked == "columns" and self.token == self.tag:
            raise ValueError(f"token and tag are both column {self.token!r}")
        return self

    @model_validator(mode="after")
    def _check_effect(self) -> Self:
        asked = self.implied_format
        condition = "no dataset" if asked is None else f"format {asked}"
        if asked != "datasets":
            self._refuse_unused(("dataset", "revision", "splits"), condition)
        if asked not in (None, "columns"):
            self._refuse_unused(("comments",), condition)
        if self.tag_format == "plain":
            self._refuse_unused(("outside_tag",), f"tag_format {self.tag_format}")
        if asked == "csv":
            self._refuse_unused(("columns",), "format csv, whose header names the columns")
        if asked is not None and asked not in _ROWS:
            self._refuse_unused(("fields", "annotator", "tag_names"), condition)
        if asked in ("columns", "csv", "pipes", "conllu"):
            self._refuse_unused(("misaligned",), condition)
        if asked in _ROWS:
            self._refuse_unused(("columns",), condition)
        return self


class Words(Section):
    """Word embeddings."""

    embedding_dim: Annotated[int, Field(ge=0, le=16_384)] = Field(
        100, description="size of a word vector; vector tables determine it instead; 0 for no word vectors"
    )
    vectors: tuple[str, ...] = Field(
        (),
        strict=False,
        description="files of pretrained word vectors, concatenated for each word; `a.zip:b.txt` for a zip archive",
    )
    max_dim: Annotated[int, Field(ge=1, le=16_384)] | None = Field(
        None, description="largest size of a pretrained vector; longer ones are reduced to their principal components"
    )
    trainable: bool = Field(True, description="train the pretrained vectors too; otherwise they are frozen")
    max_frozen_words: Annotated[int, Field(ge=0, le=1_000_000_000)] = Field(
        150_000, description="largest number of pretrained words outside the training data that the model stores"
    )
    frozen_dtype: choices.VectorDtype = Field(
        "float16",
        description="how frozen vectors are stored: `float16`; `int8` takes half the space, with a factor for each "
        "word; `product` takes an eighth, with a byte for four values (product quantization)",
    )
    dropout: Fraction = Field(
        0.1, description="probability with which a word is replaced by the unknown word in training"
    )

    @model_validator(mode="after")
    def _check_effect(self) -> Self:
        if not self.embedding_dim:
            names = [name for name in type(self).model_fields if name != "embedding_dim"]
            self._refuse_unused(names, "embedding_dim 0")
        return self


class Characters(Section):
    """Character features of a word."""

    kind: choices.Characters = Field("cnn", description="network over the characters; `none` for no features")
    embedding_dim: Annotated[int, Field(ge=1, le=2_048)] = Field(30, description="size of a character vector")
    output_dim: Annotated[int, Field(ge=1, le=2_048)] = Field(
        50, description="size of the features; even for `lstm`, which has two directions"
    )
    kernel_size: Annotated[int, Field(ge=1, le=99)] = Field(
        3, description="size of the convolution in characters, odd; only for `cnn`"
    )
    dropout: Fraction = Field(0.5, description="dropout probability of the character vectors")

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        if self.kind == "none":
            names = ("embedding_dim", "output_dim", "kernel_size", "dropout")
            self._refuse_unused(names, "kind none")
        elif self.kind == "lstm":
            self._refuse_unused(("kernel_size",), "kind lstm")
            if self.output_dim % 2:
                raise ValueError(f"output_dim must be even for the two directions of an lstm, got {self.output_dim}")
        elif self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {self.kernel_size}")
        return self


class DocumentContext(Section):
    """Features from the other occurrences of a word in its document."""

    output_dim: Annotated[int, Field(ge=0, le=2_048)] = Field(0, description="size of the features; 0 for none")
    dropout: Fraction = Field(0.2, description="dropout probability of the vectors of the neighbouring words")

    @model_validator(mode="after")
    def _check_effect(self) -> Self:
        if not self.output_dim:
            self._refuse_unused(("dropout",), "output_dim 0")
        return self


class Transformer(Section):
    """Contextual embeddings of a pretrained transformer."""

    name: Name | None = Field(
        None, description="name of the transformer on the Hugging Face Hub, or its directory; null for none"
    )
    revision: Name | None = Field(None, description="revision on the Hub; null for the newest")
    layers: Layers = Field(
        "all",
        description="hidden states to read: `all`, `last`, or a list; 0 is the embedding layer, -1 the last layer",
    )
    mix: choices.LayerMix = Field(
        "scalar",
        description="how layers are combined: `scalar` (learned weights of normalized layers), `mean` or `concat`",
    )
    pooling: choices.Pooling = Field(
        "mean", description="vector of a token from its subwords; `first_last` concatenates the first and the last one"
    )
    trainable: bool = Field(
        False, description="train the transformer too; otherwise it is frozen, and its features are computed once"
    )
    context: Annotated[int, Field(ge=0, le=4_096)] = Field(
        64, description="largest number of subwords of the same document that are read on each side of a sentence"
    )
    context_dropout: Fraction = Field(
        0.0, description="probability with which a sentence is read without its context in training; needs `trainable`"
    )
    output_dim: Annotated[int, Field(ge=0, le=16_384)] = Field(
        0, description="size of a linear projection of the mixed layers; 0 for none"
    )
    dropout: Fraction = Field(0.1, description="dropout probability of the mixed layers")
    include_weights: bool | None = Field(
        None,
        description="store the weights of a frozen transformer in the model; otherwise the model names it, with its"
        " hash. null stores them if `name` is a directory",
    )

    @property
    def is_local(self) -> bool:
        """Whether the name is the path of a directory; a recipe's loader makes such paths absolute."""
        return self.name is not None and PurePath(self.name).is_absolute()

    @model_validator(mode="after")
    def _check_effect(self) -> Self:
        if self.name is None:
            self._refuse_unused([name for name in type(self).model_fields if name != "name"], "name null")
        if not self.trainable:
            self._refuse_unused(("context_dropout",), "trainable false")
        else:
            self._refuse_unused(("include_weights",), "trainable true")
        if not self.context:
            self._refuse_unused(("context_dropout",), "context 0")
        return self


class Encoder(Section):
    """Recurrent layers."""

    cell: choices.Cell = Field("lstm", description="recurrent cell; `lstm1997` is an LSTM without a forget gate")
    hidden_size: Annotated[int, Field(ge=1, le=16_384)] = Field(200, description="units per direction")
    num_layers: Annotated[int, Field(ge=0, le=64)] = Field(
        1, description="number of layers; 0 puts the head directly on the token vectors"
    )
    direction: choices.Direction = Field("both", description="direction in which sentences are read")
    merge: choices.Merge = Field("concat", description="how the outputs of both directions are merged")
    forget_bias: Annotated[float, Field(ge=-1e6, le=1e6)] = Field(
        1.0, description="initial bias of the forget gate; only for `lstm`"
    )
    attention_heads: Annotated[int, Field(ge=0, le=64)] = Field(
        0, description="heads of self-attention over the last layer's output; 0 for no attention"
    )

    @model_validator(mode="after")
    def _check_effect(self) -> Self:
        if not self.num_layers:
            names = ("cell", "hidden_size", "direction", "merge", "forget_bias", "attention_heads")
            self._refuse_unused(names, "num_layers 0")
        if self.direction != "both":
            self._refuse_unused(("merge",), f"direction {self.direction}")
        if self.cell != "lstm":
            self._refuse_unused(("forget_bias",), f"cell {self.cell}, which has no forget gate")
        return self

    @model_validator(mode="after")
    def _check_heads(self) -> Self:
        size = self.hidden_size * (2 if self.direction == "both" and self.merge == "concat" else 1)
        if self.attention_heads and size % self.attention_heads:
            raise ValueError(f"attention_heads must divide the merged size {size}, got {self.attention_heads}")
        return self


class Dropout(Section):
    """Dropout between the parts of the network, as probabilities."""

    kind: choices.Dropout = Field(
        "element", description="drop each unit independently, or the same units for all tokens of a sentence (`locked`)"
    )
    input: Fraction = Field(0.5, description="of the token vectors")
    layers: Fraction = Field(0.5, description="of the outputs between recurrent layers")
    output: Fraction = Field(0.5, description="of the last layer's outputs")


class Head(Section):
    """Tag classifier."""

    kind: choices.Head = Field("crf", description="linear-chain CRF, or an independent softmax per token")
    forbid_in_training: bool = Field(False, description="exclude forbidden transitions in training too; only for `crf`")
    tag_weights: dict[str, Annotated[float, Field(ge=0, le=1e6)]] = Field(
        {}, description="weights of gold tags in the loss, by tag or entity type; 1 for all others"
    )

    @model_validator(mode="after")
    def _check_effect(self) -> Self:
        if self.kind != "crf":
            self._refuse_unused(("forbid_in_training",), f"kind {self.kind}")
        return self


class Model(Section):
    """Network."""

    words: Words = Words()
    characters: Characters = Characters()
    casing: Annotated[int, Field(ge=0, le=2_048)] = Field(
        0, description="size of the vector for a word's casing; 0 for none"
    )
    document_context: DocumentContext = DocumentContext()
    transformer: Transformer = Transformer()
    encoder: Encoder = Encoder()
    dropout: Dropout = Dropout()
    head: Head = Head()

    @property
    def reads_documents(self) -> bool:
        """Whether the tags of a sentence depend on other sentences of its document."""
        return self.document_context.output_dim > 0 or (
            self.transformer.name is not None and self.transformer.context > 0
        )

    @model_validator(mode="after")
    def _check_features(self) -> Self:
        if self.words.embedding_dim:
            return self
        self._refuse_unused(("document_context",), "words.embedding_dim 0, as it reads word vectors")
        if self.characters.kind == "none" and not self.casing and self.transformer.name is None:
            raise ValueError("words.embedding_dim 0 needs another feature: characters, casing or transformer.name")
        return self

    @model_validator(mode="after")
    def _check_effect(self) -> Self:
        layers = self.encoder.num_layers
        if layers <= 1:
            names = ("dropout.layers",) if layers else ("dropout.layers", "dropout.output")
            self._refuse_unused(names, f"encoder.num_layers {layers}")
        return self


class Optimizer(Section):
    """Optimizer and learning rates."""

    kind: choices.Optimizer = Field("sgd", description="optimization algorithm")
    learning_rate: Positive = Field(0.015, description="learning rate before the schedule")
    learning_rates: dict[choices.Part, NotNegative] = Field(
        {},
        description="learning rates that replace `learning_rate` in parts of the network; 0 freezes a part, except for"
        " `transformer`, which `trainable` freezes",
    )
    momentum: Fraction = Field(0.9, description="momentum; only for `sgd`")
    nesterov: bool = Field(False, description="use Nesterov momentum; only for `sgd`")
    betas: tuple[Fraction, Fraction] = Field(
        (0.9, 0.999), strict=False, description="decay rates of the moment estimates; only for `adam` and `adamw`"
    )
    weight_decay: NotNegative = Field(0.0, description="weight decay")

    def learning_rate_of(self, part: choices.Part) -> float:
        """Returns the learning rate of a part of the network, before the schedule."""
        return self.learning_rates.get(part, self.learning_rate)

    @model_validator(mode="after")
    def _check_effect(self) -> Self:
        self._refuse_unused(("betas",) if self.kind == "sgd" else ("momentum", "nesterov"), f"kind {self.kind}")
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        return self


class Schedule(Section):
    """Learning rate schedule: a factor of the learning rate, by step or epoch."""

    kind: choices.Schedule = Field("constant", description="shape of the schedule")
    warmup: Annotated[int, Field(ge=0, le=1_000_000_000)] = Field(
        0, description="steps of linear warm-up; not for `onecycle`"
    )
    decay: NotNegative = Field(0.05, description="factor is 1 / (1 + decay * epoch); only for `inverse`")
    patience: Count = Field(
        3, description="epochs without a better dev score before the rate is reduced; only for `plateau`"
    )
    factor: Annotated[float, Field(gt=0, lt=1)] = Field(0.5, description="factor of each reduction; only for `plateau`")
    peak: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.3, description="fraction of the steps before the maximum; only for `onecycle`"
    )

    @model_validator(mode="after")
    def _check_effect(self) -> Self:
        users = {"decay": "inverse", "patience": "plateau", "factor": "plateau", "peak": "onecycle"}
        self._refuse_unused([name for name, kind in users.items() if kind != self.kind], f"kind {self.kind}")
        if self.kind == "onecycle":
            self._refuse_unused(("warmup",), "kind onecycle, which has its own warm-up")
        return self


class FineTuning(Section):
    """How a trainable transformer is trained."""

    frozen_epochs: Annotated[int, Field(ge=0, le=10_000)] = Field(
        0, description="number of epochs before the transformer is trained; fewer than `epochs`"
    )
    layer_decay: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0,
        description="factor of the learning rate from one layer of the transformer to the layer below; not for layers"
        " that share their weights, as in ALBERT",
    )
    gradient_checkpointing: bool = Field(
        False, description="compute the hidden states of the transformer again in the backward pass, to save memory"
    )


class Training(Section):
    """Training."""

    epochs: Annotated[int, Field(ge=1, le=10_000)] = Field(30, description="largest number of epochs")
    seed: Annotated[int, Field(ge=0, lt=choices.SEED_LIMIT)] = Field(1, description="random seed")
    batch_size: Count | None = Field(10, description="largest number of sentences in a batch; null for no limit")
    max_batch_tokens: Count | None = Field(
        None, description="largest number of tokens in a batch, padding included; null for no limit"
    )
    accumulation_steps: Annotated[int, Field(ge=1, le=10_000)] = Field(
        1, description="number of parts that a batch is split into; their gradients are accumulated, to save memory"
    )
    bucket_size: Count = Field(
        500, description="number of sentences that are sorted by length together; 1 for random batches"
    )
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    fine_tuning: FineTuning = FineTuning()
    clip_norm: Positive | None = Field(5.0, description="largest norm of the gradient; null for no clipping")
    clip_value: Positive | None = Field(
        None, description="largest absolute value in the gradient; null for no clipping"
    )
    selection: choices.Selection | None = Field(
        None,
        description="dev score that selects the best epoch; null for `f1` of spans or `accuracy` of plain tags. `f1` "
        "of plain tags leaves out `O`; `macro_f1` is the mean F1 of all types or tags",
    )
    patience: Count | None = Field(
        None, description="epochs without a better dev score before training stops; null for all epochs"
    )
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        description="decay of an exponential moving average of the weights, lower in the first steps, which the best "
        "model holds; null for none",
    )
    distill: bool = Field(
        False,
        description="weigh the possible tags of tokens that were not annotated by the marginals of the model that"
        " training starts from",
    )
    sentence_weights: str | None = Field(
        None,
        description="file with a factor of the loss for each training sentence, as `tagger audit` writes it; null for"
        " equal weights",
    )
    corpus_cache: Name | None = Field(
        None,
        description="directory in which the training data is stored as arrays, for data that exceed the memory; null to"
        " keep the data in memory. The results are the same",
    )
    feature_cache: Name | Literal[False] | None = Field(
        None,
        description="directory that caches the features of a frozen transformer; null for one in the user's cache,"
        " false for none",
    )
    feature_cache_gb: Annotated[float, Field(gt=0, le=100_000)] = Field(
        10.0, description="largest size of `feature_cache` in 10^9 bytes; the features used longest ago are removed"
    )
    mixed_precision: bool = Field(
        False, description="compute in float16 on a GPU where that is safe, with loss scaling; no effect on a CPU"
    )
    diagnostics: bool = Field(
        False, description="record gradient norms, gate activations and the reach of gradients at each epoch"
    )
    on_nonfinite: choices.OnNonfinite = Field(
        "stop", description="stop the training, or skip the step, if the loss or gradient is not finite"
    )
    checkpoint_steps: Count | None = Field(
        None, description="steps between checkpoints; null for one at the end of each epoch only"
    )
    keep_checkpoints: Annotated[int, Field(ge=2, le=1_000_000)] = Field(
        2, description="number of newest checkpoints to keep"
    )

    @model_validator(mode="after")
    def _check_limits(self) -> Self:
        if self.batch_size is None and self.max_batch_tokens is None:
            raise ValueError("set batch_size or max_batch_tokens to limit a batch")
        return self


class Config(Section):
    """Complete recipe."""

    data: Data = Data()
    model: Model = Model()
    training: Training = Training()

    @model_validator(mode="after")
    def _check_learning_rates(self) -> Self:
        model, learning_rates = self.model, self.training.optimizer.learning_rates
        unused = {
            "words": "with model.words.embedding_dim 0" if not model.words.embedding_dim else "",
            "characters": "on a model without characters, casing and document_context"
            if model.characters.kind == "none" and not model.casing and not model.document_context.output_dim
            else "",
            "transformer": "without model.transformer.trainable" if not model.transformer.trainable else "",
            "encoder": "with encoder.num_layers 0"
            if not model.encoder.num_layers and model.transformer.name is None
            else "",
        }
        for part, condition in unused.items():
            if condition and part in learning_rates:
                raise UnusedSettingsError([f"training.optimizer.learning_rates.{part}"], condition)
        if learning_rates.get("transformer") == 0:
            raise ValueError(
                "training.optimizer.learning_rates.transformer must be above 0; for a frozen transformer, whose"
                " features are cached, omit it and model.transformer.trainable"
            )
        return self

    @model_validator(mode="after")
    def _check_fine_tuning(self) -> Self:
        transformer, training = self.model.transformer, self.training
        if not transformer.trainable:
            self._refuse_unused(("training.fine_tuning",), "model.transformer.trainable false")
        frozen_epochs = training.fine_tuning.frozen_epochs
        if frozen_epochs >= training.epochs:
            raise ValueError(
                f"training.fine_tuning.frozen_epochs must be less than training.epochs, which is {training.epochs}, got"
                f" {frozen_epochs}"
            )
        if transformer.name is None or transformer.trainable:
            names = ("training.feature_cache", "training.feature_cache_gb")
            self._refuse_unused(names, "no frozen model.transformer")
        return self

    @model_validator(mode="after")
    def _check_corpus_cache(self) -> Self:
        if self.training.corpus_cache is None:
            return self
        for name, is_set in (
            ("model.transformer", self.model.transformer.name is not None),
            ("training.distill", self.training.distill),
        ):
            if is_set:
                raise ValueError(
                    f"training.corpus_cache cannot be used with {name}, which needs all sentences in memory"
                )
        return self

    def without_paths(self) -> "Config":
        """Returns the config without the paths and names of data, as a model stores it."""
        data = self.data.model_copy(update=dict.fromkeys(("train", "dev", "test", "dataset", "revision")))
        words = self.model.words.model_copy(update={"vectors": ()})
        transformer = self.model.transformer
        if transformer.is_local:
            transformer = transformer.model_copy(update={"name": PurePath(transformer.name or "").name})
        model = self.model.model_copy(update={"words": words, "transformer": transformer})
        local = {
            "sentence_weights": None,
            "corpus_cache": None,
            "feature_cache": None,
            "feature_cache_gb": Training().feature_cache_gb,
        }
        training = self.training.model_copy(update=local)
        return self.model_copy(update={"data": data, "model": model, "training": training})
