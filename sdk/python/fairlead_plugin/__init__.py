"""Write Fairlead plugins in Python: a class, its manifest, its configuration.

    from dataclasses import dataclass
    from fairlead_plugin import Interest, Manifest, Message, Middleware, Verdict, export

    @dataclass
    class Config:
        prefix: str

    @export
    class NoPrefix(Middleware[Config]):
        manifest = Manifest("no-prefix", "0.1.0", "refuses tools by prefix", [Interest("tools/call", "request")])
        config_type = Config

        def on_request(self, message: Message) -> Verdict:
            if (message.target or "").startswith(self.config.prefix):
                return Verdict.deny(4030, f"`{message.target}` is not allowed")
            return Verdict.next()

State belongs into `kv`: an instance may be thrown away between any two calls. An exception is a fault, which the host
answers with the failure mode of the attachment; it never becomes a decision.
"""

from . import clock, kv, log, metrics, policy, registry, secrets
from .config import ConfigError, described
from .failure import Failure
from .json import visit_strings
from .kinds import Capability, Interest, Manifest, Middleware, RegistrySource, UpdatePolicy, export
from .message import Context, Message
from .verdict import REJECTED, Patch, Rejection, Verdict

__all__ = [
    "REJECTED",
    "Capability",
    "ConfigError",
    "Context",
    "Failure",
    "Interest",
    "Manifest",
    "Message",
    "Middleware",
    "Patch",
    "RegistrySource",
    "Rejection",
    "UpdatePolicy",
    "Verdict",
    "clock",
    "described",
    "export",
    "kv",
    "log",
    "metrics",
    "policy",
    "registry",
    "secrets",
    "visit_strings",
]
