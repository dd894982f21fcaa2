"""Tests say what is true, not how fast it came: an example that waits for a core is no failure."""

from hypothesis import settings

settings.register_profile("larix", deadline=None)
settings.load_profile("larix")
