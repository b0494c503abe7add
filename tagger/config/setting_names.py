"""The real names of settings, found from parts of them and from the usual names of other toolkits."""

import difflib
from collections.abc import Iterator
from functools import cache
from typing import Any

from tagger.choices import listed
from tagger.config.schema import Config

_MAX_SUGGESTIONS = 3

# Usual names in PyTorch, Hugging Face, Flair, spaCy, NCRF++ and others, by the setting's dotted name.
_USUAL_NAMES = {
    "data.dev": "dev_file valid valid_file validation validation_file eval_file dev_path",
    "data.dev_fraction": "dev_split validation_split val_split",
    "data.scheme": "tag_scheme tagging_scheme label_scheme encoding span_encoding iob",
    "data.tag": "tag_column label_column labels label ner_column target",
    "data.test": "test_file test_path",
    "data.token": "token_column text_column word_column words_column tokens",
    "data.train": "train_file train_path train_data training_file",
    "model.casing": "capitalization case casing_dim",
    "model.characters.embedding_dim": "char_dim char_emb_dim char_embedding_dim char_embedding_size",
    "model.characters.kind": "char char_encoder char_features use_char use_chars char_cnn char_lstm",
    "model.characters.output_dim": "char_hidden_dim char_hidden_size char_out_dim",
    "model.dropout.input": "dropout embedding_dropout input_dropout dropout_rate dropout_prob",
    "model.dropout.output": "dropout hidden_dropout output_dropout lstm_dropout rnn_dropout dropout_rate dropout_prob",
    "model.dropout.kind": "locked_dropout variational_dropout",
    "model.encoder.cell": "rnn rnn_type cell_type",
    "model.encoder.direction": "bidirectional directions",
    "model.encoder.hidden_size": "hidden hidden_dim hidden_units units lstm_size rnn_size lstm_hidden lstm_dim width",
    "model.encoder.num_layers": "layers n_layers rnn_layers num_rnn_layers lstm_layers depth num_hidden_layers",
    "model.head.kind": "crf use_crf decoder",
    "model.head.tag_weights": "class_weights class_weight label_weights loss_weights weights weight_dict",
    "model.words.embedding_dim": "emb_dim embed_dim embedding_size word_dim word_emb_dim word_embedding_dim",
    "model.words.trainable": "finetune fine_tune freeze freeze_embeddings trainable_embeddings",
    "model.words.vectors": "embeddings glove fasttext pretrained word_vectors embedding_file pretrained_embeddings",
    "training.batch_size": "bs batch batchsize mini_batch_size train_batch_size per_device_train_batch_size batches",
    "training.clip_norm": "max_grad_norm grad_clip clip_grad gradient_clip gradient_clip_val clip grad_norm",
    "training.ema_decay": "ema average moving_average swa use_ema",
    "training.epochs": "epoch max_epochs num_epochs n_epochs nb_epochs num_train_epochs n_iter max_epoch iterations",
    "training.keep_checkpoints": "save_total_limit save_top_k",
    "training.checkpoint_steps": "save_steps save_every eval_steps",
    "training.max_batch_tokens": "max_tokens batch_tokens",
    "training.mixed_precision": "fp16 amp use_amp bf16 precision half",
    "training.optimizer.kind": "optim optimizer_type optimizer_name",
    "training.optimizer.learning_rate": "lr learning_rates rate alpha eta initial_learning_rate initial_lr base_lr",
    "training.optimizer.weight_decay": "wd l2 decay_weight l2_regularization",
    "training.patience": "early_stopping early_stopping_patience early_stop",
    "training.schedule.kind": "scheduler lr_scheduler lr_scheduler_type lr_schedule annealing",
    "training.schedule.factor": "anneal_factor lr_factor gamma",
    "training.schedule.decay": "lr_decay decay_rate learning_rate_decay",
    "training.schedule.warmup": "warmup_steps warmup_ratio num_warmup_steps lr_warmup",
    "training.seed": "random_seed random_state manual_seed rng_seed",
}


@cache
def all_names() -> tuple[str, ...]:
    """Returns the dotted names of all settings."""
    return tuple(_names(Config, ""))


def _names(section: Any, prefix: str) -> Iterator[str]:
    for name, field in section.model_fields.items():
        if hasattr(field.annotation, "model_fields"):
            yield from _names(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def find(name: str) -> tuple[str, ...]:
    """Returns the dotted names that a name may mean: the one with this last part, else those with this usual name.

    >>> find("Batch-Size"), find("lr"), find("max_epochs")
    (('training.batch_size',), ('training.optimizer.learning_rate',), ('training.epochs',))
    """
    last = name.rpartition(".")[2].lower().replace("-", "_")
    by_last_part = [known for known in all_names() if known.rpartition(".")[2] == last]
    by_usual_name = [known for known, usual in _USUAL_NAMES.items() if last in usual.split()]
    return tuple(by_last_part if len(by_last_part) == 1 else dict.fromkeys(by_usual_name + by_last_part))


def suggest(name: str) -> str:
    """Returns `; did you mean …?` with the settings that a name may mean or that have a similar last part.

    >>> suggest("hiden_size")
    "; did you mean 'model.encoder.hidden_size'?"
    """
    names = find(name)
    if not names:
        last_parts = {known.rpartition(".")[2]: known for known in all_names()}
        close = difflib.get_close_matches(name.rpartition(".")[2].lower(), last_parts, n=1)
        names = tuple(last_parts[each] for each in close)
    return f"; did you mean {listed(tuple(map(repr, names[:_MAX_SUGGESTIONS])))}?" if names else ""
