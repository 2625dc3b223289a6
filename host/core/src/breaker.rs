//! A circuit breaker as a pure state machine: it is told the time and what happened, and says whether to call.
