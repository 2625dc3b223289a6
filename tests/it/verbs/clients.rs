//! Client applications.

use insta::assert_snapshot;

use super::pair::Pair;

#[tokio::test]
async fn clients() {
    let pair = Pair::with_daemons().await;
    assert_snapshot!(pair.run("client status").await, @"
    $ fairlead client status
    --- stderr
    no client application is installed; `--all` shows those that are known
    --- status 0
    $ fairlead client status --format json
    []
    --- status 0
    ");
    assert_snapshot!(pair.run("client setup").await, @r#"
    $ fairlead client setup
    --- stderr
    no client application is installed that is not registered
    --- status 0
    $ fairlead client setup --format json
    []
    --- stderr
    {"note":"no client application is installed that is not registered"}
    --- status 0
    "#);
    pair.write("user/.cursor/mcp.json", "{}\n");
    assert_snapshot!(pair.run("client setup").await, @r#"
    $ fairlead client setup
    --- stderr
    Cursor (cursor): [HOME]/user/.cursor/mcp.json
    error: nobody is there to be asked
    hint: `--yes` registers all of these
    --- status 2
    $ fairlead client setup --format json
    --- stderr
    {"note":"Cursor (cursor): [HOME]/user/.cursor/mcp.json"}
    {"error":"nobody is there to be asked","hint":"`--yes` registers all of these"}
    --- status 2
    "#);
    assert_snapshot!(pair.run("client setup --yes").await, @r#"
    $ fairlead client setup --yes
    cursor has no server yet
    --- status 0
    $ fairlead client setup --yes --format json
    [
      {
        "id": "cursor",
        "name": "Cursor",
        "path": "[HOME]/user/.cursor/mcp.json",
        "installed": true,
        "registered": true,
        "entries": []
      }
    ]
    --- status 0
    "#);
    pair.run("run --name one -- {server}").await;
    assert_snapshot!(pair.run("client status").await, @r#"
    $ fairlead client status
    CLIENT  STATE  FILE
    cursor  one  [HOME]/user/.cursor/mcp.json
    --- status 0
    $ fairlead client status --format json
    [
      {
        "id": "cursor",
        "name": "Cursor",
        "path": "[HOME]/user/.cursor/mcp.json",
        "installed": true,
        "registered": true,
        "entries": [
          "one"
        ]
      }
    ]
    --- status 0
    "#);
    assert_snapshot!(pair.run("client register vscode").await, @r#"
    $ fairlead client register vscode
    vscode has one
    --- status 0
    $ fairlead client register vscode --format json
    [
      {
        "id": "vscode",
        "name": "Visual Studio Code",
        "path": "[HOME]/user/.config/Code/User/mcp.json",
        "installed": true,
        "registered": true,
        "entries": [
          "one"
        ]
      }
    ]
    --- status 0
    "#);
    assert_snapshot!(pair.run("client register emacs").await, @r#"
    $ fairlead client register emacs
    --- stderr
    error: there is no client application `emacs`
    hint: `fairlead client status --all` shows those that are known
    --- status 1
    $ fairlead client register emacs --format json
    []
    --- stderr
    {"error":"there is no client application `emacs`","kind":"not-found","hint":"`fairlead client status --all` shows those that are known"}
    --- status 1
    "#);
    assert_snapshot!(pair.run("client undo vscode").await, @r#"
    $ fairlead client undo vscode
    `[HOME]/user/.config/Code/User/mcp.json` is as it was, and vscode is not registered
    --- status 0
    $ fairlead client undo vscode --format json
    {
      "id": "vscode",
      "name": "Visual Studio Code",
      "path": "[HOME]/user/.config/Code/User/mcp.json",
      "installed": true,
      "registered": false,
      "entries": []
    }
    --- status 0
    "#);
    assert_snapshot!(pair.run("client remove cursor").await, @r#"
    $ fairlead client remove cursor
    cursor is removed
    --- status 0
    $ fairlead client remove cursor --format json
    [
      {
        "id": "cursor"
      }
    ]
    --- status 0
    "#);
}
