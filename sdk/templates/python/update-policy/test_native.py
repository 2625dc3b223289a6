"""The policy as plain Python."""

import unittest
from types import SimpleNamespace

from plugin import Config, {{type}}


def facts(now):
    candidate = SimpleNamespace(pin="sha256:new", first_seen=0, signature="unknown")
    return SimpleNamespace(now=now, running=SimpleNamespace(digests=["sha256:old"]), candidates=[candidate])


class ThePolicy(unittest.TestCase):
    def test_an_update_is_taken_when_it_is_old_enough(self):
        decisions = [{{type}}.decide(facts(now), Config(age_hours=1)) for now in (0, 3_600_000)]
        self.assertEqual([type(decision).__name__ for decision in decisions], ["Hold", "Update"])
