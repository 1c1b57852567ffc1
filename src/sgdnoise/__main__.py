"""The command line: python -m sgdnoise VERB ..."""

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    del sys.path[0]  # the working folder: a file random.py there is none of the library's

from sgdnoise.cli.main import command

if __name__ == "__main__":
    command()
