"""Where the script ``truecaller-vbc`` begins: outside the package, whose import alone takes most of the start."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C ends it quietly with 130 while it is still being imported, too."""
    try:
        from truecaller_vbc.cli import main as run  # noqa: PLC0415

        run()
    except KeyboardInterrupt:
        sys.exit(130)
