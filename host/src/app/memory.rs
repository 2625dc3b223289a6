//! Memory that nobody uses goes back to the system.
//!
//! The allocator of glibc keeps what was freed, in pieces between what is still used, for whoever asks next: after a thousand
//! sessions have ended, the daemon is as large as before. A daemon that runs for weeks beside a person's work should be as
//! small as what it does. So a few seconds after sessions or connections have ended, the allocator is told to give whole free
//! pages back; while nothing ends, nothing is done. Other allocators do it by themselves, or not at all.

use std::sync::Arc;

use fairlead_proxy::Proxy;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::limits::MEMORY_RELEASE_AFTER;

/// Gives back what sessions and connections have held, until `stop`.
pub(super) async fn give_back(proxy: Arc<Proxy>, stop: CancellationToken) {
    let giving = async {
        loop {
            proxy.released().await;
            sleep(MEMORY_RELEASE_AFTER).await;
            // It holds the allocator's locks for a moment, which no request should wait for on its own thread.
            let _ = tokio::task::spawn_blocking(release).await;
        }
    };
    stop.run_until_cancelled(giving).await;
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn release() {
    #[expect(
        unsafe_code,
        reason = "declares a function of the C library, which has no preconditions and is safe to call"
    )]
    mod glibc {
        use std::ffi::c_int;

        unsafe extern "C" {
            /// Gives free pages back, but for so many bytes at the end of the heap. Whether there were any, says the answer.
            pub(super) safe fn malloc_trim(keep: usize) -> c_int;
        }
    }
    let released = glibc::malloc_trim(0);
    tracing::trace!(released, "free memory was given back");
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn release() {}
