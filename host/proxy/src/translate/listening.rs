//! What one legacy client wants to hear unasked, as one `subscriptions/listen` of the server behind.

use std::collections::BTreeSet;
use std::sync::Arc;

use fairlead_core::json::{encode_string, find};
use fairlead_core::jsonrpc::{Envelope, Kind};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::face::Face;
use super::server::ModernCall;
use crate::limits::{LISTEN_ACK_MAX, LISTEN_AGAIN, SUBSCRIPTIONS_MAX};

/// What is listened to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Filter {
    /// Names of the lists whose changes the server tells.
    lists: Vec<&'static str>,
    /// Resources that the client has subscribed to.
    pub(super) resources: BTreeSet<String>,
}

impl Filter {
    /// The lists that a server tells changes of, by its capabilities (JSON text).
    pub(super) fn of(capabilities: &str) -> Self {
        let tells = |list: &str| matches!(find(capabilities, &format!("/{list}/listChanged")), Ok(Some("true")));
        let lists = ["tools", "prompts", "resources"].into_iter().filter(|list| tells(list)).collect();
        Self { lists, resources: BTreeSet::new() }
    }

    /// Listens to a resource as well; false when it listens to as many as it may.
    pub(super) fn add(&mut self, uri: &str) -> bool {
        let has_room = self.resources.len() < SUBSCRIPTIONS_MAX || self.resources.contains(uri);
        if has_room {
            self.resources.insert(uri.to_owned());
        }
        has_room
    }

    fn is_empty(&self) -> bool {
        self.lists.is_empty() && self.resources.is_empty()
    }

    /// JSON text of `params`.
    fn params(&self) -> String {
        let lists = self.lists.iter().map(|list| format!("\"{list}ListChanged\":true"));
        let resources: Vec<String> = self.resources.iter().map(|uri| encode_string(uri)).collect();
        let resources = (!resources.is_empty()).then(|| format!("\"resourceSubscriptions\":[{}]", resources.join(",")));
        let parts: Vec<String> = lists.chain(resources).collect();
        format!("{{\"notifications\":{{{}}}}}", parts.join(","))
    }
}

/// Listens until the task is dropped. A stream that ends is opened again; a changed filter opens another one before the one
/// that stands is given up, so that nothing falls in between.
pub(super) async fn listen(face: Arc<Face>, mut filter: watch::Receiver<Filter>, heard: watch::Sender<Filter>) {
    let mut standing: Option<Box<dyn ModernCall>> = None;
    loop {
        let wanted = filter.borrow_and_update().clone();
        if wanted != *heard.borrow() || standing.is_none() {
            standing = if wanted.is_empty() { None } else { open(&face, &wanted).await };
            if standing.is_some() || wanted.is_empty() {
                heard.send_replace(wanted.clone());
            }
        }
        let Some(stream) = standing.as_mut() else {
            let again = async {
                match wanted.is_empty() {
                    true => std::future::pending().await,
                    false => sleep(LISTEN_AGAIN).await,
                }
            };
            tokio::select! {
                changed = filter.changed() => if changed.is_err() { return },
                () = again => {}
            }
            continue;
        };
        tokio::select! {
            changed = filter.changed() => if changed.is_err() { return },
            message = stream.next() => match message {
                Some(message) if message.kind() == Kind::Notification => face.say(message.raw().clone()).await,
                _ => {
                    standing = None;
                    sleep(LISTEN_AGAIN).await;
                }
            },
        }
    }
}

/// A stream that the server has acknowledged.
async fn open(face: &Face, wanted: &Filter) -> Option<Box<dyn ModernCall>> {
    let request = face.request("\"subscriptions/listen\"", &wanted.params())?;
    let opened = async {
        let mut stream = face.server.call(request, face.headers()).await.ok()?;
        let first: Envelope = stream.next().await?;
        (first.method() == "notifications/subscriptions/acknowledged").then_some(stream)
    };
    timeout(LISTEN_ACK_MAX, opened).await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_tells_is_listened_to() {
        let mut filter = Filter::of(r#"{"tools":{"listChanged":true},"prompts":{"listChanged":false},"resources":{}}"#);
        assert_eq!(filter.params(), r#"{"notifications":{"toolsListChanged":true}}"#);
        filter.resources.insert("a\"b".to_owned());
        assert_eq!(filter.params(), r#"{"notifications":{"toolsListChanged":true,"resourceSubscriptions":["a\"b"]}}"#);
        assert!(Filter::of("{}").is_empty());
    }

    #[test]
    fn a_session_listens_to_so_many_resources_and_no_more() {
        let mut filter = Filter::default();
        assert!((0..SUBSCRIPTIONS_MAX).all(|number| filter.add(&number.to_string())));
        assert!(filter.add("0"), "it does already");
        assert!(!filter.add("one more"));
        assert_eq!(filter.resources.len(), SUBSCRIPTIONS_MAX);
    }
}
