//! Every bound of outgoing connections, with the reason for its number.

use std::time::Duration;

/// Time for the name service. A resolver tries its second server after five seconds.
pub const RESOLVE_MAX: Duration = Duration::from_secs(8);

/// Time for one address to answer. Three lost packets at the first retransmissions of TCP.
pub const CONNECT_MAX: Duration = Duration::from_secs(4);

/// Time to agree on TLS: two round trips and a chain of certificates.
pub const TLS_MAX: Duration = Duration::from_secs(5);

/// Time in all, however many addresses there are.
pub const DIAL_MAX: Duration = Duration::from_secs(15);

/// Addresses of one name that are tried. Who has more than this has them for load, not for reach.
pub const ADDRESSES_TRIED_MAX: usize = 8;
