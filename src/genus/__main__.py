"""`python -m genus` is `genus`."""

from __future__ import annotations

from genus.cli import main

if __name__ == "__main__":
    main()
