"""Settings for every test."""

from hypothesis import settings

# A deadline per example measures the machine, not the code.
settings.register_profile("headlong", deadline=None)
settings.load_profile("headlong")
