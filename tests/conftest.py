"""Settings for every test."""

import os

from hypothesis import settings

# A deadline per example measures the machine, not the code.
settings.register_profile("headlong", deadline=None)
settings.load_profile("headlong")

# No test finds or leaves anything in the user's folders; those of the cost cache name their own.
os.environ["HEADLONG_CACHE"] = "off"
