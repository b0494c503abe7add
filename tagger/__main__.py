"""Runs the command line as `python -m tagger`."""

from tagger.cli import main

if __name__ == "__main__":
    main()
