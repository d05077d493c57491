"""For all tests."""

from hypothesis import settings

# No example has a time limit: how long one takes is a matter of what else the machine does.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")
