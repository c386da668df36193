"""What several parts take where a person says nothing; in a module that loads nothing."""

from __future__ import annotations

DEFAULT_CATALOGUE = "tuning_logs/catalogue.db"
"""Where measurements are kept, relative to the working directory."""
