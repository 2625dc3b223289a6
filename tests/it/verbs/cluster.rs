//! What is for a cluster: its resources, documents of another operator, and the operator where there is no cluster.

use insta::assert_snapshot;

use super::pair::Pair;

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
