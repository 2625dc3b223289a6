"""Laws of the SDK, without Wasm and without a host."""

import sys
import unittest
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Optional

sys.path.insert(0, str(Path(__file__).parent.parent))

from fairlead_plugin import Failure, Interest, Manifest, Middleware, Rejection, Verdict, described, kv, log, visit_strings
from fairlead_plugin.config import ConfigError, parse, schema
from fairlead_plugin.failure import told
from fairlead_plugin.testing import Harness
from fairlead_plugin.verdict import settled


@dataclass
class Inner:
    name: str


@dataclass
class Config:
    words: list[str] = described("Words")
    most: int = described("At most", default=3, minimum=1)
    mode: Literal["a", "b"] = "a"
    inner: Optional[Inner] = None
    weights: dict[str, float] = described("Weights", default={})


def harness(on_request, interests=(Interest("tools/*", "request"),)):
    class Plugin(Middleware):
        manifest = Manifest("a", "0.1.0", "a", list(interests))

    Plugin.on_request = on_request
    return Harness(Plugin)


class Configurations(unittest.TestCase):
    def test_a_dataclass_is_a_json_schema(self):
        written = schema(Config)
        self.assertEqual(written["required"], ["words"])
        self.assertEqual(written["additionalProperties"], False)
        self.assertEqual(written["properties"]["words"]["items"], {"type": "string"})
        self.assertEqual(written["properties"]["most"], {"type": "integer", "description": "At most", "minimum": 1})
        self.assertEqual(written["properties"]["mode"], {"enum": ["a", "b"]})
        self.assertEqual(written["properties"]["inner"]["anyOf"][1], {"type": "null"})
        self.assertEqual(schema(None), {"type": "object", "additionalProperties": False})

    def test_a_configuration_is_read_into_its_type(self):
        config = parse(Config, '{"words": ["x"], "inner": {"name": "y"}, "weights": {"a": 1}}')
        self.assertEqual(config, Config(["x"], 3, "a", Inner("y"), {"a": 1.0}))

    def test_what_does_not_fit_is_refused_with_its_place(self):
        for text, place in [
            ("{}", "/words"), ('{"words": [1]}', "/words/0"), ('{"words": [], "x": 1}', "/x"),
            ('{"words": [], "most": true}', "/most"), ('{"words": [], "mode": "c"}', "/mode"),
            ('{"words": [], "inner": {}}', "/inner/name"),
        ]:
            with self.assertRaisesRegex(ConfigError, place):
                parse(Config, text)


class Verdicts(unittest.TestCase):
    def test_a_hook_that_returns_nothing_is_a_fault(self):
        for returned in (None, True, "next"):
            with self.assertRaisesRegex(TypeError, "no verdict"):
                settled(returned, "on_request")
        self.assertIs(settled(Verdict.next(), "on_request"), Verdict.next())

    def test_an_exception_that_nobody_meant_is_a_failure_with_its_place(self):
        try:
            {}["missing"]
        except KeyError as error:
            failure = told(error)
        self.assertEqual(failure.kind, "internal")
        self.assertRegex(str(failure), r"KeyError: 'missing' \(test_sdk.py:\d+\)")
        meant = Failure.upstream("bad")
        self.assertIs(told(meant), meant)


class TheKit(unittest.TestCase):
    def test_it_patches_remembers_and_lets_time_pass(self):
        def on_request(self, message):
            log.info("asked")
            count = kv.increment("count", ttl_ms=1000)
            return Verdict.patch().set("/arguments/count", count).remove("/arguments/drop")

        plugin = harness(on_request)
        ask = lambda: plugin.request("tools/call", {"name": "a", "arguments": {"drop": 1, "text": "t"}}).payload["arguments"]
        self.assertEqual(ask(), {"text": "t", "count": 1})
        plugin.now = 500
        self.assertEqual(ask()["count"], 2)
        plugin.now = 1000
        self.assertEqual((ask()["count"], len(plugin.logs)), (1, 3))

    def test_it_tells_every_verdict(self):
        rejection = Rejection(1, "no", {"a": 1}, 5)
        outcome = harness(lambda self, message: Verdict.reject(rejection)).request("tools/call", {"name": "a"})
        self.assertEqual((outcome.code, outcome.data, outcome.retry_after_ms), (1, {"a": 1}, 5))
        self.assertEqual(harness(lambda self, message: Verdict.respond([1])).request("tools/list").payload, [1])
        self.assertEqual(harness(lambda self, message: Verdict.patch()).request("tools/list").verdict, "next")

    def test_a_plugin_is_not_called_for_what_it_did_not_ask_for(self):
        interests = [Interest("tools/call", "request", target="gh_*")]
        plugin = harness(lambda self, message: Verdict.deny(1, "no"), interests)
        self.assertEqual(plugin.request("tools/call", {"name": "gh_issue"}).verdict, "reject")
        self.assertEqual(plugin.request("tools/call", {"name": "xgh_issue"}).verdict, "not-called")
        with self.assertRaisesRegex(ValueError, "phases"):
            Interest("tools/call", "requests")

    def test_every_string_is_visited_with_its_pointer(self):
        seen = list(visit_strings({"a": ["x", {"b/c~": "y"}], "d": 1}))
        self.assertEqual(seen, [("/a/0", "x"), ("/a/1/b~1c~0", "y")])


if __name__ == "__main__":
    unittest.main()
