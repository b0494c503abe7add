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
    dev_share: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.1, description="share set aside where there is no dev file"
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

    width: Annotated[int, Field(ge=1, le=16_384)] = Field(100, description="of the vectors, where no table gives it")
    vectors: tuple[str, ...] = Field((), strict=False, description="tables of pretrained vectors, joined side by side")
    training: choices.VectorTraining = Field("tuned", description="of the vectors that come from tables")
    keep: Annotated[int, Field(ge=0, le=1_000_000_000)] = Field(
        150_000, description="words of the tables that a model keeps for text it was not trained on"
    )
    dropout: Share = Field(0.1, description="share of tokens whose word is replaced by the unknown word in training")


class Characters(Section):
    """Features of a word's spelling."""

    kind: choices.Characters = "cnn"
    width: Annotated[int, Field(ge=1, le=2_048)] = Field(30, description="of a character's vector")
    features: Annotated[int, Field(ge=1, le=2_048)] = Field(50, description="width of the result")
    kernel: Annotated[int, Field(ge=1, le=99)] = Field(3, description="characters that a convolution sees at once")
    dropout: Share = 0.5

    @model_validator(mode="after")
    def _even(self) -> Self:
        if self.kind == "lstm" and self.features % 2:
            raise ValueError(f"features must be even for the two directions of an lstm, got {self.features}")
        if self.kind == "cnn" and self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, got {self.kernel}")
        return self


class Elsewhere(Section):
    """What the rest of its document says of a word."""

    width: Annotated[int, Field(ge=0, le=2_048)] = Field(0, description="of the result; 0 for none")
    dropout: Share = Field(0.2, description="over the vectors of the words that stand beside it")


class Encoder(Section):
    """The recurrent layers."""

    cell: choices.Cell = Field("lstm", description="lstm1997 is the LSTM without a forget gate")
    width: Annotated[int, Field(ge=1, le=16_384)] = Field(200, description="in each direction")
    layers: Annotated[int, Field(ge=1, le=64)] = 1
    directions: Annotated[int, Field(ge=1, le=2)] = 2
    backward: bool = Field(False, description="read from the sentence's end, where there is one direction")
    merge: choices.Merge = Field("concat", description="how two directions become one vector")
    forget_bias: Annotated[float, Field(ge=-1e6, le=1e6)] = Field(
        1.0, description="of an LSTM's forget gate at the start; lstm1997 has none"
    )
    attention_heads: Annotated[int, Field(ge=0, le=64)] = Field(
        0, description="of self-attention over the output; 0 for none"
    )

    @model_validator(mode="after")
    def _backward_alone(self) -> Self:
        if self.backward and self.directions == 2:
            raise ValueError("backward needs directions: 1, got 2")
        return self

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        width = self.width * (2 if self.directions == 2 and self.merge == "concat" else 1)
        if self.attention_heads and width % self.attention_heads:
            raise ValueError(f"attention_heads must divide the merged width {width}, got {self.attention_heads}")
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
    capitals: Annotated[int, Field(ge=0, le=2_048)] = Field(
        0, description="width of the capitalisation feature; 0 for none"
    )
    elsewhere: Elsewhere = Elsewhere()
    encoder: Encoder = Encoder()
    dropout: Dropout = Dropout()
    head: Head = Head()


class Batches(Section):
    """How sentences are put together; a batch ends at whichever limit comes first."""

    sentences: Count | None = Field(10, description="in a batch at most")
    tokens: Count | None = Field(None, description="in a batch at most, padding counted")
    pool: Count = Field(500, description="sentences sorted by length together; 1 for batches in random order")

    @model_validator(mode="after")
    def _limited(self) -> Self:
        if self.sentences is None and self.tokens is None:
            raise ValueError("sentences or tokens must limit a batch")
        return self


class Optimizer(Section):
    """The optimiser and its rate."""

    kind: choices.Optimizer = "sgd"
    rate: Positive = Field(0.015, description="learning rate")
    rates: dict[choices.Part, NotNegative] = Field({}, description="rates of single parts instead")
    momentum: Share = Field(0.9, description="of SGD")
    nesterov: bool = False
    betas: tuple[Share, Share] = Field((0.9, 0.999), strict=False, description="of Adam and AdamW")
    weight_decay: NotNegative = 0.0

    def rate_of(self, part: choices.Part) -> float:
        """Returns the full rate of a part of the network."""
        return self.rates.get(part, self.rate)

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
    batches: Batches = Batches()
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    clip_norm: Positive | None = Field(5.0, description="the gradient's norm at most")
    clip_value: Positive | None = Field(None, description="each part of the gradient at most")
    patience: Count | None = Field(None, description="epochs without a better dev score before training ends")
    average: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="decay of a moving average of the weights, which is then evaluated and the best model"
    )
    mixed_precision: bool = Field(False, description="compute in float16 on a GPU where that is safe, the loss scaled")
    diagnostics: bool = Field(
        False, description="record by epoch each part's gradient norm, how far gates are open, how far gradients reach"
    )
    not_finite: choices.NotFinite = Field("stop", description="what to do at a loss or gradient that is not finite")
    checkpoint_steps: Count | None = Field(None, description="steps between checkpoints, beside one for each epoch")
    keep_checkpoints: Annotated[int, Field(ge=2, le=1_000_000)] = Field(
        2, description="checkpoints that stay, the newest"
    )


class Config(Section):
    """A recipe, whole."""

    data: Data = Data()
    model: Model = Model()
    training: Training = Training()

    def without_places(self) -> "Config":
        """Returns the config without the paths and names of data, as a model keeps it."""
        data = self.data.model_copy(update=dict.fromkeys(("train", "dev", "test", "dataset", "revision")))
        words = self.model.words.model_copy(update={"vectors": ()})
        return self.model_copy(update={"data": data, "model": self.model.model_copy(update={"words": words})})
