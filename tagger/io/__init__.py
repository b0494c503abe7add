"""Files, directories and object stores: bounded reads, atomic writes, locks."""
