"""``python -m truecaller_vbc``: the same as ``truecaller-vbc``."""

from .cli import main

if __name__ == "__main__":
    main()
