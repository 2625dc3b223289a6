//! Bytes: what nobody asked to change arrives as it was sent, both ways.

use serde_json::json;

use crate::scene::{SERVER, create, daemon_with_server, guards, run_test_server, server};

/// Texts of JSON values that a proxy which parses and writes again changes.
const DELICATE: [&str; 14] = [
    "9007199254740993",
    "18446744073709551615",
    "-9223372036854775808",
    "123456789012345678901234567890",
    "1.0",
    "1e2",
    "1E+2",
    "0.1000000000000000055511151231257827",
    r#""\/ and \u00e9 and é""#,
    "\"\u{200D}\u{2028}\u{2029}\u{FEFF}\u{FFFD}\u{A0}\"",
    r#""👩‍👩‍👧 \ud83d\ude00""#,
    r#"{"z":1,"a":2,"z\u0000":3}"#,
    r#"{ "spaced" :  [ 1 , 2 ] }"#,
    r#"{"a":1,"a":2}"#,
];

async fn echoes(server: &str, client: &fairlead_tests::Client) {
    for value in DELICATE {
        let arguments = format!(r#"{{"value":{value},"unknown":null}}"#);
        let body = format!(
            r#"{{"vendor":true,"jsonrpc":"2.0","id":"\u0041-1","method":"tools/call","params":{{"extra":[],"name":"echo","arguments":{arguments}}}}}"#
        );
        let text = client.post(body).await.unwrap().text().await.unwrap();
        assert!(
            text.contains(&format!(r#""structuredContent":{arguments}"#)),
            "{server}: sent {arguments}\ngot {text}"
        );
    }
}

#[tokio::test]
async fn values_arrive_byte_for_byte_both_ways() {
    let daemon = daemon_with_server(&[]).await;
    run_test_server(&daemon.cli().unwrap(), "shared", &["--isolation", "shared"], &[]).await;
    let guarded = server("guarded", &json!({"plugins": guards(&json!({}), 1_000_000)}));
    create(daemon.home(), &guarded).await.unwrap();
    for server in [SERVER, "shared", "guarded"] {
        let client = daemon.client(server).await.unwrap();
        echoes(server, &client).await;
    }
}

#[tokio::test]
async fn ten_megabytes_pass_both_ways() {
    let daemon = daemon_with_server(&[]).await;
    let client = daemon.client(SERVER).await.unwrap();
    let big = "é".repeat(5 << 20);
    let response = client.call("echo", json!({"big": big})).await.unwrap();
    assert!(response["result"]["structuredContent"]["big"] == big.as_str(), "10 MB came back otherwise");
    let given = client.text("big", json!({"bytes": 10 << 20})).await.unwrap();
    assert_eq!(given.len(), 10 << 20);
}

#[tokio::test]
async fn an_id_comes_back_as_it_was_written() {
    let daemon = daemon_with_server(&[]).await;
    run_test_server(&daemon.cli().unwrap(), "shared", &["--isolation", "shared"], &[]).await;
    for server in [SERVER, "shared"] {
        let client = daemon.client(server).await.unwrap();
        for id in ["0", "-1", "5", r#""5""#, r#""""#, r#""a/|\" \u00e9""#, "9007199254740993", "18446744073709551615"] {
            let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
            let text = client.post(body).await.unwrap().text().await.unwrap();
            assert!(text.contains(&format!(r#""id":{id}"#)), "{server}: asked with id {id}, answered {text}");
        }
    }
}
