"""Random transformers of two layers, with tokenizers trained on a few sentences: each is a directory as on the Hub."""

import warnings
from functools import cache
from pathlib import Path
from typing import Any

import torch

FAMILIES = {
    "albert": ("unigram", {"embedding_size": 8, "num_hidden_groups": 2}),
    "bert": ("wordpiece", {}),
    "camembert": ("unigram", {}),
    "deberta": ("bytes", {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_biased_input": False}),
    "deberta-v2": (
        "unigram",
        {
            "relative_attention": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_buckets": 8,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "position_biased_input": False,
        },
    ),
    "distilbert": ("wordpiece", {}),
    "electra": ("wordpiece", {"embedding_size": 8}),
    "ernie": ("wordpiece", {}),
    "modernbert": ("bytes", {"local_attention": 8, "global_attn_every_n_layers": 2}),
    "mpnet": ("unigram", {}),
    "roberta": ("bytes", {}),
    "xlm-roberta": ("unigram", {}),
}
"""The tokenizer of each family, and settings of its network."""

TEXTS = [
    "Ada Lovelace lives in Paris, and Alan Turing lives in New York.",
    "The unbelievable machine of Grace Hopper was tested again: nobody believed it!",
    "Edsger Dijkstra's algorithms, which are widely used, find the shortest paths.",
    "Where do the trains to Cairo, Lima, Quito and Oslo leave today?",
    "Überraschung: naïve façades in Zürich cost 1,000 euros (or more).",
] * 3
SPECIAL = {
    "wordpiece": ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
    "bytes": ["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
    "unigram": ["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
}
_SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 66,
    "initializer_range": 0.5,  # so that hidden states differ much
}
_DISTILBERT = {
    "hidden_size": "dim",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "intermediate_size": "hidden_dim",
}


def write_transformer(
    folder: Path, family: str = "bert", *, seed: int = 0, lowercase: bool = False, **settings: Any
) -> Path:
    """Writes config.json, model.safetensors and tokenizer.json of a random transformer, and returns the folder.

    Args:
        folder: the directory to create.
        family: a key of `FAMILIES`.
        seed: the seed of the weights.
        lowercase: whether the tokenizer lower-cases; only for WordPiece.
        settings: further settings of the network, such as `num_hidden_layers`.
    """
    with warnings.catch_warnings(action="ignore"):
        import transformers

        transformers.utils.logging.disable_progress_bar()
        kind, own = FAMILIES[family]
        tokenizer = train_tokenizer(kind, lowercase)
        ids = {"pad_token_id": SPECIAL[kind].index("[PAD]" if kind == "wordpiece" else "<pad>")}
        if family == "modernbert":
            ids |= {"cls_token_id": 0, "bos_token_id": 0, "eos_token_id": 2, "sep_token_id": 2}
        values = _SIZES | own | ids | {"vocab_size": tokenizer.get_vocab_size()} | settings
        if family == "distilbert":
            values = {_DISTILBERT.get(name, name): value for name, value in values.items()}
        config = transformers.AutoConfig.for_model(family, **values)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = transformers.AutoModel.from_config(config)
            for name, parameter in model.named_parameters():  # biases and norms would be 0 and 1
                if name.endswith("bias") or "norm" in name.lower():
                    parameter.data += 0.1 * torch.randn_like(parameter)
        model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@cache
def train_tokenizer(kind: str, lowercase: bool = False) -> Any:
    """Returns a tokenizer of `tokenizers`: wordpiece, bytes (byte-level BPE) or unigram (SentencePiece)."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    special = SPECIAL[kind]
    if kind == "wordpiece":
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        trainer: Any = trainers.WordPieceTrainer(vocab_size=250, special_tokens=special, show_progress=False)
    elif kind == "bytes":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        )
    else:
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.normalizer = normalizers.NFKC()
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=150, special_tokens=special, unk_token="<unk>", show_progress=False
        )
    tokenizer.train_from_iterator(TEXTS, trainer)
    start, end = ("[CLS]", "[SEP]") if kind == "wordpiece" else ("<s>", "</s>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        pair=f"{start} $A {end} {end} $B {end}",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in (start, end)],
    )
    return tokenizer
