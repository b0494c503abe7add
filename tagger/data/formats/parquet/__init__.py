"""Parquet: one record per row, with a column of texts or of token lists. Other columns are carried unchanged."""

from tagger.data.formats.parquet.reading import read_group_sizes, read_groups, read_records, read_tagged_records
from tagger.data.formats.parquet.writing import make_sink, write_rows

__all__ = ["make_sink", "read_group_sizes", "read_groups", "read_records", "read_tagged_records", "write_rows"]
