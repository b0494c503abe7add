"""Runs the command line as `python -m tagger`."""

from tagger import import_path

import_path.drop_current_directory()  # where Python looks first of all, for -m

from tagger.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
