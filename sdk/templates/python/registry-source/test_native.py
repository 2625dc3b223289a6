"""The source as plain Python."""

import unittest

from fairlead_plugin import Failure
from fairlead_plugin.registry import Request
from plugin import Config, Server, {{type}}


def source(*names):
    return {{type}}(Config([Server(name, "1.0.0", "an example") for name in names]))


class TheSource(unittest.TestCase):
    def test_pages_follow_each_other_to_the_end(self):
        servers = source("a/1", "a/2", "a/3")
        first = servers.enumerate(Request(limit=2))
        self.assertEqual([entry.name for entry in first.entries], ["a/1", "a/2"])
        last = servers.enumerate(Request(limit=2, cursor=first.next))
        self.assertEqual((last.entries[0].name, last.next), ("a/3", None))

    def test_a_name_has_exactly_one_slash(self):
        with self.assertRaisesRegex(Failure, "exactly one"):
            source("time")
