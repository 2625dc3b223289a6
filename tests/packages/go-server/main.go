// An MCP server of one page, without dependencies: what a Go module is built of in the tests.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
)

type request struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var asked request
		if json.Unmarshal(lines.Bytes(), &asked) != nil || len(asked.ID) == 0 {
			continue
		}
		fmt.Printf("{\"jsonrpc\":\"2.0\",\"id\":%s,%s}\n", asked.ID, answer(asked.Method))
	}
}

func answer(method string) string {
	switch method {
	case "initialize":
		return `"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"answer","version":"1.2.3"}}`
	case "ping":
		return `"result":{}`
	case "tools/list":
		return `"result":{"tools":[{"name":"answer","inputSchema":{"type":"object"}}]}`
	case "tools/call":
		return `"result":{"content":[{"type":"text","text":"forty-two"}]}`
	}
	return `"error":{"code":-32601,"message":"no such method"}`
}
