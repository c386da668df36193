"""`python -m tunekit` is `tunekit`."""

from __future__ import annotations

from tunekit.cli.app import main

if __name__ == "__main__":
    main()
