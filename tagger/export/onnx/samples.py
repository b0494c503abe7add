"""Sentences of random words, to compare an exported model with the model in PyTorch."""

import random

from tagger.data.sentence import Sentence
from tagger.data.vocab import SPECIAL
from tagger.model import TaggerModel

LONGEST = 200
"""Tokens of the longest sample."""
_SENTENCES_PER_DOCUMENT = 5
_HARD_WORDS = (
    *("ΟΔΥΣΣΕΥΣ", "ΣΑΣ", "İstanbul", "ISPARTA", "STRASSE", "Straße", "ǅungla", "ÅNGSTRÖM", "Ⅷ", "𝐀𝐛"),
    *(
        "１２３",
        "٤٢",
        "3,5",
        "2026-11-30",
        "x²",
        "<padding>",
        "<unknown>",
        "O'Neill",
        "e\u0301",
        "\u202eabc",
        "👩‍🚀",
        "中文",
    ),
    "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft",
)
_LETTERS = "etaoinshrdluETAOINS0123456789.-'"


class WordSampler:
    """Draws words that a model knows, variants of them, and words that no model knows.

    Args:
        model: the model.
        seed: the random seed.
    """

    def __init__(self, model: TaggerModel, seed: int) -> None:
        self._random = random.Random(seed)
        self._words = model.known_words.items[len(SPECIAL) :] or _HARD_WORDS
        self._characters = [*model.characters.items[len(SPECIAL) :], *_LETTERS]
        self._used = ["the"]

    def draw_word(self) -> str:
        """Returns a word."""
        choice = self._random.random()
        if choice < 0.15:
            return self._random.choice(self._used)  # again in its document
        if choice < 0.25:
            return self._random.choice(_HARD_WORDS)
        if choice < 0.4:
            return "".join(self._random.choices(self._characters, k=self._random.randint(1, 80)))
        limit = min(len(self._words), 2 ** self._random.randint(1, 22))  # the first words are the most frequent ones
        word = self._words[self._random.randrange(limit)]
        variant = self._random.choice((word, word, word.title(), word.upper(), word.lower()))
        self._used = [*self._used[-20:], variant]
        return variant

    def draw_sentence(self, length: int, document: int = 0) -> Sentence:
        """Returns a sentence of a number of words."""
        return Sentence(tuple(self.draw_word() for _ in range(length)), document=document)


def sample_sentences(model: TaggerModel, count: int, *, seed: int = 1) -> list[Sentence]:
    """Returns sentences of every length from 1 to 200, in turn and in random order, in documents of five."""
    sampler = WordSampler(model, seed)
    step = max(1, LONGEST // count)
    lengths = [(step * number) % LONGEST + 1 for number in range(count)]
    random.Random(seed).shuffle(lengths)
    return [sampler.draw_sentence(length, number // _SENTENCES_PER_DOCUMENT) for number, length in enumerate(lengths)]


def sample_documents(model: TaggerModel, *, seed: int = 2) -> list[list[Sentence]]:
    """Returns short documents whose words are hard to preprocess, for examples."""
    sampler = WordSampler(model, seed)
    documents = [[Sentence((word,)) for word in _HARD_WORDS[:1]]]
    documents.append([Sentence(_HARD_WORDS), Sentence(tuple(word.lower() for word in _HARD_WORDS))])
    documents += [
        [sampler.draw_sentence(length) for length in lengths] for lengths in ((1,), (2,), (7, 3), (20,), (5, 1, 12))
    ]
    return documents
