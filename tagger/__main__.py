"""Runs the command line, as `tagger` and as `python -m tagger`."""

from tagger import import_path

import_path.drop_current_directory()  # where Python looks first for -m, or by PYTHONPATH

from tagger.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
