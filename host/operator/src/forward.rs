//! A port of a pod as a port of this program: what connects here is carried through the API server and the kubelet.
//!
//! No NetworkPolicy stands in between, since nothing comes over the network of pods; the right to forward does. Whoever listens at
//! the other end sees connections from its own loopback. The listener is on loopback as well, and is gone with its [`Forwarded`],
//! together with all that goes through it.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use fairlead_core::BoxFuture;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Portforwarder;
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, copy, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::limits::{FORWARD_ACCEPT_PAUSE, FORWARD_CONNECTIONS_MAX, FORWARD_END_MAX, FORWARD_OPEN_MAX};

/// Why a connection was not carried to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The cluster did not carry it: the API server refuses or is away, or the way from there to the pod broke.
    #[error("the cluster does not forward: {0}")]
    Cluster(String),
    /// The cluster carries, and nobody takes it in the pod.
    #[error("nobody listens at the port of the pod: {0}")]
    Pod(String),
}

/// A port that is forwarded, for as long as this is kept.
pub struct Forwarded {
    address: SocketAddr,
    trouble: Arc<Mutex<Option<Trouble>>>,
    /// Dropped with it: the listener, and every connection.
    _tasks: JoinSet<()>,
}

impl fmt::Debug for Forwarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forwarded").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Forwarded {
    /// Forwards a port of a pod. The cluster is asked when somebody connects, and not before.
    ///
    /// # Errors
    /// This machine gives no port.
    pub async fn open(client: Client, namespace: &str, pod: &str, port: u16) -> io::Result<Self> {
        Self::through(Arc::new(PodPort { pods: Api::namespaced(client, namespace), pod: pod.to_owned(), port })).await
    }

    async fn through(way: Arc<dyn Way>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (address, trouble) = (listener.local_addr()?, Arc::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, way, Arc::clone(&trouble)));
        Ok(Self { address, trouble, _tasks: tasks })
    }

    /// Where it is reached.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Why the last connection that failed did; `None`: each came to its end.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        self.trouble.lock().clone()
    }
}

/// Takes connections, a bounded number at a time.
async fn serve(listener: TcpListener, way: Arc<dyn Way>, trouble: Arc<Mutex<Option<Trouble>>>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= FORWARD_CONNECTIONS_MAX {
            connections.join_next().await;
        }
        tokio::select! {
            accepted = listener.accept() => {
                let Some(near) = taken(accepted).await else { continue };
                let (way, trouble) = (Arc::clone(&way), Arc::clone(&trouble));
                connections.spawn(async move {
                    if let Err(why) = carry(&*way, near).await {
                        tracing::debug!(%why, "a connection was not forwarded");
                        *trouble.lock() = Some(why);
                    }
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// A connection that came. One that went before it was taken is nobody's; but where no more files can be opened, the next one cannot be
/// taken either, and is there already.
async fn taken(accepted: io::Result<(TcpStream, SocketAddr)>) -> Option<TcpStream> {
    match accepted {
        Ok((near, _)) => Some(near),
        Err(error) => {
            tracing::debug!(%error, "a connection was not taken");
            sleep(FORWARD_ACCEPT_PAUSE).await;
            None
        }
    }
}

/// Carries one connection to its end.
async fn carry(way: &dyn Way, mut near: TcpStream) -> Result<(), Trouble> {
    let late = |_| Trouble::Cluster(format!("no answer within {} s", FORWARD_OPEN_MAX.as_secs()));
    let Far { stream, end } = timeout(FORWARD_OPEN_MAX, way.open()).await.map_err(late)??;
    let ((mut read, mut write), (mut from, mut to)) = (split(stream), near.split());
    tokio::select! {
        // Whoever connected has gone, and how the rest of it ends is nobody's business any more.
        Ok(_) = copy(&mut from, &mut write) => return Ok(()),
        _ = copy(&mut read, &mut to) => {}
    }
    let _ = to.shutdown().await;
    // Where the pod hung up, the cluster waits for us to do the same. Where the cluster did, its end is there already.
    timeout(FORWARD_END_MAX, end).await.unwrap_or(Ok(()))
}

/// The far end of a connection.
struct Far {
    stream: Box<dyn Stream>,
    /// How it was carried; ready as soon as that is over, or as the pod refuses.
    end: BoxFuture<'static, Result<(), Trouble>>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Where connections go. A port of its own, so that what is made of it needs no cluster to be tested.
trait Way: Send + Sync {
    fn open(&self) -> BoxFuture<'_, Result<Far, Trouble>>;
}

/// A port of a pod.
struct PodPort {
    pods: Api<Pod>,
    pod: String,
    port: u16,
}

impl Way for PodPort {
    fn open(&self) -> BoxFuture<'_, Result<Far, Trouble>> {
        Box::pin(async move {
            let opened = self.pods.portforward(&self.pod, &[self.port]).await;
            let mut forwarder = Carrying(Some(opened.map_err(|error| Trouble::Cluster(error.to_string()))?));
            let none = || Trouble::Cluster("it gave no stream".to_owned());
            let taken = forwarder.0.as_mut().ok_or_else(none)?;
            let refused = taken.take_error(self.port).ok_or_else(none)?;
            let stream = Box::new(taken.take_stream(self.port).ok_or_else(none)?);
            let end = Box::pin(async move {
                // It is told, or everything is over.
                if let Some(why) = refused.await {
                    return Err(Trouble::Pod(why));
                }
                let Some(forwarder) = forwarder.0.take() else { return Ok(()) };
                forwarder.join().await.map_err(|error| Trouble::Cluster(error.to_string()))
            });
            Ok(Far { stream, end })
        })
    }
}

/// A connection through the API server, which would outlive whoever asked for it.
struct Carrying(Option<Portforwarder>);

impl Drop for Carrying {
    fn drop(&mut self) {
        if let Some(forwarder) = &self.0 {
            forwarder.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, duplex};
    use tokio::time::Instant;

    use super::*;

    /// What becomes of each connection.
    #[derive(Clone, Copy)]
    enum Fate {
        /// Its first bytes come back, and the pod hangs up.
        Echoed,
        /// The cluster hangs up.
        Lost,
        /// The pod refuses it.
        Refused,
        /// The cluster refuses it.
        Forbidden,
    }

    impl Way for Fate {
        fn open(&self) -> BoxFuture<'_, Result<Far, Trouble>> {
            Box::pin(async {
                let (near, mut far) = duplex(64);
                let mut tasks = JoinSet::new();
                let fate = *self;
                tasks.spawn(async move {
                    let mut said = [0; 5];
                    if matches!(fate, Fate::Echoed) && far.read_exact(&mut said).await.is_ok() {
                        far.write_all(&said).await.unwrap();
                    }
                });
                let end: BoxFuture<'static, Result<(), Trouble>> = match self {
                    Self::Forbidden => return Err(Trouble::Cluster("forbidden".to_owned())),
                    Self::Lost => Box::pin(async { Err(Trouble::Cluster("reset".to_owned())) }),
                    Self::Refused => Box::pin(async { Err(Trouble::Pod("connection refused".to_owned())) }),
                    // As long as we do not hang up as well.
                    Self::Echoed => Box::pin(async move {
                        let _tasks = tasks;
                        std::future::pending().await
                    }),
                };
                Ok(Far { stream: Box::new(near), end })
            })
        }
    }

    /// Connects, says something, and reads to the end.
    async fn answer(forwarded: &Forwarded) -> Vec<u8> {
        let mut stream = TcpStream::connect(forwarded.address()).await.unwrap();
        let _ = stream.write_all(b"hello").await;
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said).await;
        said
    }

    /// What is known a moment after whoever connected has seen the end.
    async fn trouble(fate: Fate) -> Option<Trouble> {
        let forwarded = Forwarded::through(Arc::new(fate)).await.unwrap();
        answer(&forwarded).await;
        let known = async {
            while forwarded.trouble().is_none() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        let _ = timeout(FORWARD_END_MAX * 2, known).await;
        forwarded.trouble()
    }

    #[tokio::test]
    async fn what_connects_is_carried_and_nothing_is_once_nobody_keeps_it() {
        let forwarded = Forwarded::through(Arc::new(Fate::Echoed)).await.unwrap();
        assert!(forwarded.address().ip().is_loopback());
        for _ in 0..2 {
            assert_eq!(answer(&forwarded).await, b"hello");
        }
        let address = forwarded.address();
        drop(forwarded);
        let gone = timeout(Duration::from_secs(5), async {
            while TcpStream::connect(address).await.is_ok() {
                sleep(Duration::from_millis(1)).await;
            }
        });
        gone.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_connection_that_cannot_be_taken_the_next_one_waits() {
        let begun = Instant::now();
        assert!(taken(Err(io::Error::other("too many open files"))).await.is_none());
        assert!(begun.elapsed() >= FORWARD_ACCEPT_PAUSE);
    }

    #[tokio::test]
    async fn a_pod_that_hangs_up_is_told_from_one_that_refuses_and_both_from_a_cluster_that_does_not_carry() {
        assert_eq!(trouble(Fate::Echoed).await, None);
        assert!(matches!(trouble(Fate::Refused).await, Some(Trouble::Pod(_))));
        for fate in [Fate::Lost, Fate::Forbidden] {
            assert!(matches!(trouble(fate).await, Some(Trouble::Cluster(_))));
        }
    }
}
