//! Whatever happens, in whatever order: no launch through a closed gate, and nothing is left behind.

use super::*;

#[derive(Debug, Clone)]
enum Act {
    Open,
    Speak(usize),
    LetGo(usize),
    End(usize, i32),
    Ready,
    Start,
    Stop,
    Wait(u64),
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => Just(Act::Open),
        3 => (0..8_usize).prop_map(Act::Speak),
        2 => (0..8_usize).prop_map(Act::LetGo),
        4 => (0..8_usize, 0..2_i32).prop_map(|(which, code)| Act::End(which, code)),
        1 => Just(Act::Ready),
        1 => Just(Act::Start),
        1 => Just(Act::Stop),
        3 => (0..5_000_u64).prop_map(Act::Wait),
    ]
}

/// Plays a story and checks, at every launch, that it was let through.
async fn play(acts: Vec<Act>) {
    let world = World::default();
    let supervisor = started(&world);
    let mut sessions = Vec::new();
    for act in acts {
        match act {
            Act::Open => {
                let (closed, launches) = (supervisor.server.check().is_err(), world.runtime.launches());
                match supervisor.open_stdio().await {
                    Ok(connection) => sessions.push((Some(connection), world.runtime.next().await)),
                    Err(_) => assert_eq!(world.runtime.launches(), launches),
                }
                assert!(!closed || world.runtime.launches() == launches, "launched through a closed gate");
            }
            Act::Speak(which) => {
                if let Some((Some(connection), process)) = sessions.get_mut(which)
                    && !process.has_ended()
                {
                    speak(connection, process).await;
                }
            }
            Act::LetGo(which) => {
                if let Some((connection, _)) = sessions.get_mut(which) {
                    *connection = None;
                }
            }
            Act::End(which, code) => {
                if let Some((_, process)) = sessions.get_mut(which) {
                    process.end(Exit::Code(code));
                }
            }
            Act::Ready => supervisor.mark_ready(profile()),
            Act::Start => supervisor.start(),
            Act::Stop => drop(timeout(Duration::ZERO, supervisor.stop(Duration::from_secs(1))).await),
            Act::Wait(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
        }
    }
    supervisor.stop(Duration::from_secs(1)).await;
    let status = supervisor.status().borrow().clone();
    assert_eq!((status.phase, status.restarts, status.retry_at), (ServerPhase::Stopped, 0, None));
    assert!(sessions.iter().all(|(_, process)| process.has_ended()), "a process outlived its server");
    assert!(supervisor.shutdown(LONG).await, "a task outlived its supervisor");
    assert_eq!(supervisor.server.served.load(Ordering::Acquire), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_story_launches_through_a_closed_gate_or_leaves_anything_behind(
        acts in proptest::collection::vec(any_act(), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(play(acts));
    }
}
