"""Files of spaCy (`.spacy`): a DocBin, which holds tokenized texts with entities, tags and sentences."""

from tagger.data.formats.doc_bin.reading import read_records, read_tagged_records
from tagger.data.formats.doc_bin.writing import count_docs, make_sink, write_docs

__all__ = ["count_docs", "make_sink", "read_records", "read_tagged_records", "write_docs"]
