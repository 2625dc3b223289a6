//! What is for a cluster: its resources, documents of another operator, and the operator itself. Where there is a cluster, the
//! operator is seen in the tests of its own crate.

use insta::assert_snapshot;

use super::pair::Pair;

const THEIRS: &str = "
apiVersion: toolhive.stacklok.dev/v1beta1
kind: MCPServer
metadata:
  name: docs
spec:
  image: registry.example/docs:1
  transport: streamable-http
  mcpPort: 9000
  proxyMode: sse
";

#[tokio::test]
async fn crd() {
    let pair = Pair::bare().await;
    assert_snapshot!(pair.shape("crd").await, @"
    $ fairlead crd
    apiVersion: apiextensions.k8s.io/v1
    --- status 0
    $ fairlead crd --format json
    apiVersion items kind
    --- status 0
    ");
}

#[tokio::test]
async fn convert() {
    let pair = Pair::bare().await;
    assert_snapshot!(pair.run_with("convert -", THEIRS).await, @r#"
    $ fairlead convert -
    apiVersion: fairlead.dev/v1alpha1
    kind: MCPServer
    metadata:
      annotations:
        fairlead.dev/toolhive-spec: "{\"proxyMode\":\"sse\"}"
      name: docs
    spec:
      source:
        kind: image
        permissions: network
        reference: registry.example/docs:1
      transport:
        kind: streamable-http
        port: 9000
    --- stderr
    /spec/proxyMode: one address serves every transport
    --- status 0
    $ fairlead convert - --format json
    {
      "documents": [
        {
          "apiVersion": "fairlead.dev/v1alpha1",
          "kind": "MCPServer",
          "metadata": {
            "annotations": {
              "fairlead.dev/toolhive-spec": "{\"proxyMode\":\"sse\"}"
            },
            "name": "docs"
          },
          "spec": {
            "source": {
              "kind": "image",
              "permissions": "network",
              "reference": "registry.example/docs:1"
            },
            "transport": {
              "kind": "streamable-http",
              "port": 9000
            }
          }
        }
      ],
      "notes": [
        {
          "pointer": "/spec/proxyMode",
          "fate": "not-applied",
          "reason": "one address serves every transport"
        }
      ]
    }
    --- status 0
    "#);
}

#[tokio::test]
async fn operator() {
    let pair = Pair::bare().await;
    assert_snapshot!(pair.run("operator").await, @r#"
    $ fairlead operator
    --- stderr
    error: the following required arguments were not provided:
      --proxy-image <IMAGE>

    Usage: fairlead operator --proxy-image <IMAGE>

    For more information, try '--help'.
    --- status 2
    $ fairlead operator --format json
    --- stderr
    {"error":"the following required arguments were not provided: --proxy-image <IMAGE>","hint":"try `--help`"}
    --- status 2
    "#);
}

#[tokio::test]
async fn without_a_cluster() {
    let pair = Pair::bare().await;
    assert_snapshot!(pair.run("operator --proxy-image x").await, @r#"
    $ fairlead operator --proxy-image x
    --- stderr
    error: no cluster is known: read `[HOME]/kubeconfig`: No such file or directory (os error 2)
    hint: set `KUBECONFIG` to the file of a cluster, or run in a pod with a service account
    --- status 1
    $ fairlead operator --proxy-image x --format json
    --- stderr
    {"error":"no cluster is known: read `[HOME]/kubeconfig`: No such file or directory (os error 2)","hint":"set `KUBECONFIG` to the file of a cluster, or run in a pod with a service account"}
    --- status 1
    "#);
    assert_snapshot!(pair.run("update status --on-cluster team").await, @r#"
    $ fairlead update status --on-cluster team
    --- stderr
    error: no cluster is known: read `[HOME]/kubeconfig`: No such file or directory (os error 2)
    hint: set `KUBECONFIG` to the file of a cluster, or run in a pod with a service account
    --- status 1
    $ fairlead update status --on-cluster team --format json
    --- stderr
    {"error":"no cluster is known: read `[HOME]/kubeconfig`: No such file or directory (os error 2)","hint":"set `KUBECONFIG` to the file of a cluster, or run in a pod with a service account"}
    --- status 1
    "#);
}

#[tokio::test]
async fn proxy_in_a_pod() {
    let pair = Pair::bare().await;
    assert_snapshot!(pair.run("proxy pod").await, @r#"
    $ fairlead proxy pod
    --- stderr
    error: the following required arguments were not provided:
      --file <FILE>

    Usage: fairlead proxy pod --file <FILE>

    For more information, try '--help'.
    --- status 2
    $ fairlead proxy pod --format json
    --- stderr
    {"error":"the following required arguments were not provided: --file <FILE>","hint":"try `--help`"}
    --- status 2
    "#);
    assert_snapshot!(pair.run("proxy pod --file server.json").await, @r#"
    $ fairlead proxy pod --file server.json
    --- stderr
    error: `server.json`: No such file or directory (os error 2)
    hint: the operator writes it as `server.json` into the ConfigMap of a server
    --- status 1
    $ fairlead proxy pod --file server.json --format json
    --- stderr
    {"error":"`server.json`: No such file or directory (os error 2)","hint":"the operator writes it as `server.json` into the ConfigMap of a server"}
    --- status 1
    "#);
}
