// Reads a registry as a program of the official registry's makers would: with their types, page by page, and says what it read.
// A field that their types do not know is an error in the answers themselves, and allowed where they allow it (`_meta`).
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"

	apiv0 "github.com/modelcontextprotocol/registry/pkg/api/v0"
)

func get(address string, into any) error {
	response, err := http.Get(address)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %d: %s", address, response.StatusCode, body)
	}
	return json.NewDecoder(bytes.NewReader(body)).Decode(into)
}

func run(base string) error {
	report := map[string]any{}
	cursor, names, latest := "", []string{}, 0
	for {
		var page apiv0.ServerListResponse
		query := url.Values{"limit": {"2"}, "cursor": {cursor}}
		if err := get(base+"/v0.1/servers?"+query.Encode(), &page); err != nil {
			return err
		}
		if page.Metadata.Count != len(page.Servers) {
			return fmt.Errorf("count is %d of %d", page.Metadata.Count, len(page.Servers))
		}
		for _, entry := range page.Servers {
			names = append(names, entry.Server.Name+"@"+entry.Server.Version)
			if entry.Meta.Official == nil {
				return fmt.Errorf("%s has no official standing", entry.Server.Name)
			}
			if entry.Meta.Official.IsLatest {
				latest++
			}
			var one apiv0.ServerResponse
			name, version := url.PathEscape(entry.Server.Name), url.PathEscape(entry.Server.Version)
			if err := get(base+"/v0.1/servers/"+name+"/versions/"+version, &one); err != nil {
				return err
			}
			if one.Server.Name != entry.Server.Name || one.Server.Version != entry.Server.Version {
				return fmt.Errorf("%s is %s", entry.Server.Name, one.Server.Name)
			}
			var versions apiv0.ServerListResponse
			if err := get(base+"/v0.1/servers/"+name+"/versions", &versions); err != nil {
				return err
			}
		}
		if cursor = page.Metadata.NextCursor; cursor == "" {
			break
		}
	}
	report["names"], report["latest"] = names, latest
	return json.NewEncoder(os.Stdout).Encode(report)
}

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
