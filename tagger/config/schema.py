"""The tree of settings: every field with its default, its range and what it means."""

import re
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tagger import choices

Share = Annotated[float, Field(ge=0, lt=1)]
# Upper bounds keep a recipe that somebody else wrote from asking for memory or numbers that do not exist.
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
Name = Annotated[str, Field(min_length=1)]
Positive = Annotated[float, Field(gt=0, le=1e300)]
NotNegative = Annotated[float, Field(ge=0, le=1e300)]
Column = Annotated[int, Field(ge=-1_000_000, le=1_000_000)] | str


class Section(BaseModel):
    """A part of the tree: frozen, strict about types, closed to unknown keys."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)


class Splits(Section):
    """The names that a dataset gives to its parts; a part with no name is not read."""

    train: Name = "train"
    dev: Name | None = "validation"
    test: Name | None = "test"


class Data(Section):
    """The corpus and where the words and tags stand in it."""

    format: choices.CorpusFormat = Field("columns", description="of the files; datasets for Hugging Face datasets")
    columns: tuple[str, ...] = Field((), strict=False, description="names of the columns, to be used for token and tag")
    token: Column = Field(0, description="column of the token: number from 0, from the end if negative, or name")
    tag: Column = Field(-1, description="column of the tag; in CoNLL-U upos, xpos or misc:KEY")
    scheme: choices.Scheme = Field("IOBES", description="in which spans are trained; plain tags have none")
    train: str | None = Field(None, description="training file, from the recipe's folder if not absolute")
    dev: str | None = Field(None, description="development file; without one a part of the training data is set aside")
    test: str | None = Field(None, description="test file")
    dataset: str | None = Field(None, description="dataset's name on the hub, or its directory or parquet files")
    revision: str | None = Field(None, description="the dataset's revision on the hub")
    splits: Splits = Splits()
    dev_fraction: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.1, description="fraction of the training data that is split off where there is no dev file"
    )
    max_record_bytes: Annotated[int, Field(ge=1000, le=1 << 30)] = Field(
        1 << 23, description="largest line or sentence that is read, in bytes"
    )
    strict: bool = Field(False, description="refuse tags that break their scheme, instead of reading them as conlleval")

    @model_validator(mode="after")
    def _columns_known(self) -> Self:
        for key, column in (("token", self.token), ("tag", self.tag)):
            named = isinstance(column, str)
            if self.format == "columns" and named and column not in self.columns:
                raise ValueError(f"{key} '{column}' is not among the columns {list(self.columns)}")
            if self.format == "datasets" and not named:
                raise ValueError(f"{key} must be the name of a dataset's column, got {column}")
        if self.format == "conllu" and not re.fullmatch(r"upos|xpos|misc:.+", str(self.tag)):
            raise ValueError(f"tag must be upos, xpos or misc:KEY in CoNLL-U, got {self.tag!r}")
        if self.format == "columns" and self.token == self.tag:
            raise ValueError(f"token and tag are both column {self.token!r}")
        return self


class Words(Section):
    """Vectors of words."""

    embedding_dim: Annotated[int, Field(ge=1, le=16_384)] = Field(
        100, description="size of the vectors, unless tables of vectors set it"
    )
    vectors: tuple[str, ...] = Field((), strict=False, description="tables of pretrained vectors, joined side by side")
    trainable: bool = Field(True, description="whether training changes the vectors that come from tables")
    max_frozen_words: Annotated[int, Field(ge=0, le=1_000_000_000)] = Field(
        150_000, description="largest number of table words, not in the training data, that the model stores"
    )
    dropout: Share = Field(0.1, description="share of tokens whose word is replaced by the unknown word in training")


class Characters(Section):
    """Features of a word's spelling."""

    kind: choices.Characters = "cnn"
    embedding_dim: Annotated[int, Field(ge=1, le=2_048)] = Field(30, description="size of a character's vector")
    output_dim: Annotated[int, Field(ge=1, le=2_048)] = Field(50, description="size of the features")
    kernel_size: Annotated[int, Field(ge=1, le=99)] = Field(3, description="characters under the convolution's kernel")
    dropout: Share = 0.5

    @model_validator(mode="after")
    def _even(self) -> Self:
        if self.kind == "lstm" and self.output_dim % 2:
            raise ValueError(f"output_dim must be even for the two directions of an lstm, got {self.output_dim}")
        if self.kind == "cnn" and self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {self.kernel_size}")
        return self


class DocumentContext(Section):
    """Features of a word from the rest of its document."""

    output_dim: Annotated[int, Field(ge=0, le=2_048)] = Field(0, description="size of the features; 0 for none")
    dropout: Share = Field(0.2, description="dropout over the vectors of the neighbouring words")


class Encoder(Section):
    """The recurrent layers."""

    cell: choices.Cell = Field("lstm", description="lstm1997 is the LSTM without a forget gate")
    hidden_size: Annotated[int, Field(ge=1, le=16_384)] = Field(200, description="units in each direction")
    num_layers: Annotated[int, Field(ge=1, le=64)] = 1
    direction: choices.Direction = Field("both", description="direction in which sentences are read")
    merge: choices.Merge = Field("concat", description="how the outputs of two directions are merged")
    forget_bias: Annotated[float, Field(ge=-1e6, le=1e6)] = Field(
        1.0, description="of an LSTM's forget gate at the start; lstm1997 has none"
    )
    attention_heads: Annotated[int, Field(ge=0, le=64)] = Field(
        0, description="of self-attention over the output; 0 for none"
    )

    @model_validator(mode="after")
    def _has_effect(self) -> Self:
        if self.merge != "concat" and self.direction != "both":
            raise ValueError(f"merge {self.merge} has no effect with direction {self.direction}; leave merge out")
        if self.forget_bias != 1.0 and self.cell != "lstm":
            raise ValueError(f"forget_bias has no effect with cell {self.cell}, which has no forget gate; leave it out")
        return self

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        size = self.hidden_size * (2 if self.direction == "both" and self.merge == "concat" else 1)
        if self.attention_heads and size % self.attention_heads:
            raise ValueError(f"attention_heads must divide the merged size {size}, got {self.attention_heads}")
        return self


class Dropout(Section):
    """Dropout over what flows between the parts of the network."""

    kind: choices.Dropout = Field("element", description="element by element, or locked over a sentence's tokens")
    input: Share = 0.5
    layers: Share = Field(0.5, description="between recurrent layers")
    output: Share = 0.5


class Head(Section):
    """What turns the encoder's states into tags."""

    kind: choices.Head = "crf"
    forbid_in_training: bool = Field(False, description="keep a CRF from forbidden transitions in training too")
    tag_weights: dict[str, Annotated[float, Field(ge=0, le=1e6)]] = Field(
        {}, description="of gold tags in the loss, by tag or by the type of an entity; 1 for all others"
    )

    @model_validator(mode="after")
    def _crf_alone(self) -> Self:
        if self.forbid_in_training and self.kind != "crf":
            raise ValueError("forbid_in_training is a CRF's; a softmax forbids in decoding alone")
        return self


class Model(Section):
    """The network."""

    words: Words = Words()
    characters: Characters = Characters()
    casing: Annotated[int, Field(ge=0, le=2_048)] = Field(0, description="size of the casing feature; 0 for none")
    document_context: DocumentContext = DocumentContext()
    encoder: Encoder = Encoder()
    dropout: Dropout = Dropout()
    head: Head = Head()


class Optimizer(Section):
    """The optimiser and its rate."""

    kind: choices.Optimizer = "sgd"
    learning_rate: Positive = Field(0.015, description="learning rate of all parts without one of their own")
    learning_rates: dict[choices.Part, NotNegative] = Field({}, description="learning rates by part of the network")
    momentum: Share = Field(0.9, description="of SGD")
    nesterov: bool = False
    betas: tuple[Share, Share] = Field((0.9, 0.999), strict=False, description="of Adam and AdamW")
    weight_decay: NotNegative = 0.0

    def rate_of(self, part: choices.Part) -> float:
        """Returns the full learning rate of a part of the network."""
        return self.learning_rates.get(part, self.learning_rate)

    @model_validator(mode="after")
    def _momentum_ahead(self) -> Self:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        if self.nesterov and self.kind != "sgd":
            raise ValueError(f"nesterov is SGD's, the optimiser is {self.kind}")
        return self


class Schedule(Section):
    """How the rate changes."""

    kind: choices.Schedule = "constant"
    warmup: Annotated[int, Field(ge=0, le=1_000_000_000)] = Field(
        0, description="steps over which the rate rises to its full height"
    )
    decay: NotNegative = Field(0.05, description="inverse: rate / (1 + decay * epoch)")
    patience: Count = Field(3, description="plateau: epochs without a better dev score before the rate falls")
    factor: Annotated[float, Field(gt=0, lt=1)] = Field(0.5, description="plateau: by which it falls")
    peak: Annotated[float, Field(gt=0, lt=1)] = Field(0.3, description="onecycle: share of the steps before the top")

    @model_validator(mode="after")
    def _one_rise(self) -> Self:
        if self.warmup and self.kind == "onecycle":
            raise ValueError("onecycle has a rise of its own; leave warmup out")
        return self


class Training(Section):
    """The training."""

    epochs: Annotated[int, Field(ge=1, le=10_000)] = 30
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 1
    batch_size: Count | None = Field(10, description="largest number of sentences in a batch")
    max_batch_tokens: Count | None = Field(None, description="largest number of tokens in a batch, padding included")
    bucket_size: Count = Field(500, description="sentences that are sorted by length together; 1 for random batches")
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    clip_norm: Positive | None = Field(5.0, description="the gradient's norm at most")
    clip_value: Positive | None = Field(None, description="each part of the gradient at most")
    patience: Count | None = Field(None, description="epochs without a better dev score before training ends")
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="decay of an exponential moving average of the weights, which is evaluated and stored"
    )
    mixed_precision: bool = Field(False, description="compute in float16 on a GPU where that is safe, the loss scaled")
    diagnostics: bool = Field(
        False, description="record by epoch each part's gradient norm, how far gates are open, how far gradients reach"
    )
    on_nonfinite: choices.OnNonfinite = Field("stop", description="reaction to a loss or gradient that is not finite")
    checkpoint_steps: Count | None = Field(None, description="steps between checkpoints, beside one for each epoch")
    keep_checkpoints: Annotated[int, Field(ge=2, le=1_000_000)] = Field(
        2, description="newest checkpoints that are kept"
    )

    @model_validator(mode="after")
    def _limited(self) -> Self:
        if self.batch_size is None and self.max_batch_tokens is None:
            raise ValueError("batch_size or max_batch_tokens must limit a batch")
        return self


class Config(Section):
    """A recipe, whole."""

    data: Data = Data()
    model: Model = Model()
    training: Training = Training()

    def without_paths(self) -> "Config":
        """Returns the config without the paths and names of data, as a model keeps it."""
        data = self.data.model_copy(update=dict.fromkeys(("train", "dev", "test", "dataset", "revision")))
        words = self.model.words.model_copy(update={"vectors": ()})
        return self.model_copy(update={"data": data, "model": self.model.model_copy(update={"words": words})})
