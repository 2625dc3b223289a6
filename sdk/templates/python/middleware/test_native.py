"""The middleware as plain Python, without Wasm and without a host. What runs in the real host is in `cases.json`:
`fairlead plugin test`."""

import unittest

from fairlead_plugin.testing import Harness
from plugin import {{type}}


def call(**arguments):
    return {"name": "note", "arguments": arguments}


class TheMiddleware(unittest.TestCase):
    def test_a_forbidden_word_is_found_wherever_it_stands(self):
        plugin = Harness({{type}}, {"words": ["secret"]})
        self.assertEqual(plugin.request("tools/call", call(text="hello")).verdict, "next")
        self.assertEqual(plugin.request("tools/call", call(text="A SECRET")).code, 4030)
        self.assertEqual(plugin.request("tools/call", call(list=[{"text": "secrets"}])).code, 4030)
        self.assertEqual(plugin.request("tools/list", {}).verdict, "not-called")

    def test_an_empty_word_is_refused(self):
        with self.assertRaisesRegex(Exception, "empty word"):
            Harness({{type}}, {"words": [""]})
