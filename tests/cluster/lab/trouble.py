"""The two ways in which the lab gives up."""


class Trouble(Exception):
    """Something the lab needs did not work: says what was tried, why it failed, and what to do."""


class Unavailable(Trouble):
    """This machine cannot run the lab at all: the tests are skipped, with this reason."""
