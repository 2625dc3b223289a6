# The steps of CI, one recipe each. What they do is in `xtask/`, so nothing here is needed: `cargo xtask <step>` is the same.

# Everything that CI does.
ci: test demo

# Every check and every test.
test *args:
    cargo xtask test {{args}}

# A guarded MCP server, from nothing; ends after the story.
demo:
    cargo xtask demo --once
