"""The command line: python -m sgdnoise VERB ..."""

from sgdnoise.cli.main import command

if __name__ == "__main__":
    command()
