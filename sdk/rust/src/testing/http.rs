//! Answers to outgoing requests, prepared by a test: taken in order, each request remembered.

use std::cell::RefCell;
use std::collections::VecDeque;

use crate::http::{Error, Request, Response};

#[derive(Default)]
struct Prepared {
    answers: VecDeque<Result<Response, Error>>,
    sent: Vec<Request>,
}

thread_local! {
    static PREPARED: RefCell<Prepared> = RefCell::default();
}

/// Prepares the next answer of this thread: a status, headers and a body.
pub fn answer(status: u16, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) {
    let headers = headers.iter().map(|(name, value)| ((*name).to_lowercase(), (*value).to_owned())).collect();
    fail_or(Ok(Response { status, headers, body: body.into() }));
}

/// Prepares a failure as the next answer of this thread.
pub fn fail(error: Error) {
    fail_or(Err(error));
}

fn fail_or(answer: Result<Response, Error>) {
    PREPARED.with_borrow_mut(|prepared| prepared.answers.push_back(answer));
}

/// What this thread sent since it was asked last.
#[must_use]
pub fn sent() -> Vec<Request> {
    PREPARED.with_borrow_mut(|prepared| std::mem::take(&mut prepared.sent))
}

/// Sends nothing: gives the answer that was prepared, or says that nobody is there.
pub(crate) fn send(request: &Request) -> Result<Response, Error> {
    PREPARED.with_borrow_mut(|prepared| {
        prepared.sent.push(request.clone());
        let nobody = || Err(Error::Unreachable("no answer was prepared".to_owned()));
        prepared.answers.pop_front().unwrap_or_else(nobody)
    })
}
