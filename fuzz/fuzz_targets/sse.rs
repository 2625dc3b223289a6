//! However a stream is cut into pieces, the same events come out and no byte is lost. Input: the first byte says how long
//! the pieces are.
#![no_main]

use fairlead_proxy::sse::{Event, Parser};
use libfuzzer_sys::fuzz_target;

fn parse(stream: &[u8], piece: usize) -> (Vec<Event>, Vec<u8>) {
    let mut parser = Parser::new(1 << 20);
    let mut events = Vec::new();
    for piece in stream.chunks(piece) {
        parser.push(piece);
        while let Ok(Some(event)) = parser.next_event() {
            events.push(event);
        }
    }
    (events, parser.rest().to_vec())
}

fuzz_target!(|data: &[u8]| {
    let Some((first, stream)) = data.split_first() else { return };
    let whole = parse(stream, stream.len().max(1));
    assert_eq!(parse(stream, usize::from(*first) + 1), whole);
    let mut joined: Vec<u8> = whole.0.iter().flat_map(|event| event.raw.to_vec()).collect();
    joined.extend(whole.1);
    assert_eq!(joined, stream);
    for event in whole.0 {
        let mut parser = Parser::new(1 << 21);
        // An empty event first, for only the first one may begin with a byte order mark.
        parser.push(b"\n");
        parser.next_event().expect("short enough").expect("an empty event");
        parser.push(&event.with_data(b"{}"));
        let changed = parser.next_event().expect("short enough").expect("one event");
        assert_eq!(changed.data.as_deref(), Some(&b"{}"[..]));
        assert_eq!(changed.is_message(), event.is_message());
    }
});
