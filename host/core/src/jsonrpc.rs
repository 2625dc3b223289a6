//! JSON-RPC 2.0 as MCP uses it: the envelope is read once, everything else stays the bytes that were sent.
