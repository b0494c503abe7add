"""The functions of the Python API: each does in one call what a command of the command line does."""
