//! What counts as a failure, what it closes, and what is told of it to whom.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_process_that_dies_without_a_word_closes_the_door_for_a_while() {
    let world = World::default();
    let supervisor = started(&world);
    let (_connection, mut process) = session(&world, &supervisor).await;
    process.complain("Error: no API key: hunter2\n").await;
    process.end(Exit::Code(1));

    let status = phase(&supervisor, ServerPhase::BackingOff).await;
    let reason = status.reason.unwrap();
    assert!(reason.starts_with("exited with status 1 after 0."), "{reason}");
    assert!(reason.ends_with(": Error: no API key: hunter2"), "{reason}");
    assert_eq!((status.restarts, status.retry_at), (1, Timestamp::from_second(1).ok()));

    let Err(Unavailable::BackingOff { reason, retry_after }) = supervisor.open_stdio().await else { panic!() };
    assert!(!reason.contains("hunter2"), "what a server writes is not for clients: {reason}");
    assert!(retry_after <= Duration::from_secs(1), "{retry_after:?}");
    assert_eq!(world.runtime.launches(), 1);

    let status = phase(&supervisor, ServerPhase::Starting).await;
    assert_eq!((status.restarts, status.retry_at), (1, None));
    assert!(supervisor.open_stdio().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_comes_up_is_given_up_and_started_again_by_a_person() {
    let world = World::default();
    let backoff = Backoff { failures_max: 3, ..Backoff::default() };
    let supervisor = Supervisor::spawn(SupervisorConfig { backoff, ..world.config(stdio()) });
    supervisor.start();
    for _ in 0..3 {
        phase(&supervisor, ServerPhase::Starting).await;
        let (_connection, mut process) = session(&world, &supervisor).await;
        process.end(Exit::Code(1));
        at_rest(&supervisor).await;
    }
    let status = phase(&supervisor, ServerPhase::Failed).await;
    assert!(status.reason.unwrap().ends_with("given up after 3 failures, `fairlead start a` tries again"));
    assert!(matches!(supervisor.open_stdio().await, Err(Unavailable::Failed(_))));
    supervisor.start();
    assert_eq!(supervisor.status().borrow().restarts, 0);
    assert!(supervisor.open_stdio().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_session_that_crashes_its_process_does_not_harm_the_others() {
    let world = World::default();
    let supervisor = started(&world);
    let (mut healthy, mut process) = session(&world, &supervisor).await;
    speak(&mut healthy, &mut process).await;
    supervisor.mark_ready(profile());
    for _ in 0..100 {
        let (mut connection, mut process) = session(&world, &supervisor).await;
        speak(&mut connection, &mut process).await;
        process.end(Exit::Signal(11));
        assert_eq!(connection.stdout.read(&mut [0; 8]).await.unwrap(), 0);
    }
    assert_eq!(supervisor.status().borrow().phase, ServerPhase::Running);
    assert!(!process.has_ended());
}

#[tokio::test(start_paused = true)]
async fn a_crash_is_seen_though_the_session_lets_go_as_soon_as_its_output_ends() {
    let world = World::default();
    let supervisor = started(&world);
    supervisor.mark_ready(profile());
    let (mut connection, mut process) = session(&world, &supervisor).await;
    speak(&mut connection, &mut process).await;
    process.end(Exit::Signal(11));
    assert_eq!(connection.stdout.read(&mut [0; 8]).await.unwrap(), 0);
    drop(connection);
    at_rest(&supervisor).await;
    let reason = supervisor.status().borrow().reason.clone();
    assert!(reason.as_ref().is_some_and(|reason| reason.starts_with("was ended by signal 11")), "{reason:?}");
}

#[tokio::test(start_paused = true)]
async fn a_last_answer_that_is_still_in_the_pipe_counts_as_having_come_up() {
    let world = World::default();
    let supervisor = started(&world);
    let (mut connection, mut process) = session(&world, &supervisor).await;
    process.say("{}").await;
    process.end(Exit::Code(1));
    // The exit is known before the answer is read.
    tokio::task::yield_now().await;
    connection.stdout.read_to_end(&mut Vec::new()).await.unwrap();
    at_rest(&supervisor).await;
    assert_eq!(supervisor.status().borrow().restarts, 0, "one crash, and no failure to come up");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_its_server_ends_in_peace_is_no_failure() {
    let world = World::default();
    let supervisor = started(&world);
    supervisor.mark_ready(profile());
    for _ in 0..20 {
        let (mut connection, mut process) = session(&world, &supervisor).await;
        speak(&mut connection, &mut process).await;
        process.end(Exit::Code(0));
        drop(connection);
        at_rest(&supervisor).await;
    }
    let status = supervisor.status().borrow().clone();
    assert_eq!((status.phase, status.restarts, status.reason), (ServerPhase::Running, 0, None));
}

#[tokio::test(start_paused = true)]
async fn a_program_that_is_not_there_fails_at_once_with_the_remedy() {
    let world = World::default();
    let supervisor = started(&world);
    let what = "npx".to_owned();
    world.runtime.refuse(LaunchError::NotFound { what, hint: "is it installed?".to_owned() });
    let refused = supervisor.open_stdio().await.unwrap_err();
    assert_eq!(refused, Unavailable::Failed("its program cannot be started".to_owned()));
    let status = phase(&supervisor, ServerPhase::Failed).await;
    let expected = "`npx` was not found: is it installed?; `fairlead start a` tries again";
    assert!(status.reason.unwrap().starts_with(expected.split(';').next().unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_launch_that_takes_long_is_not_waited_for_and_one_that_never_ends_is_a_failure() {
    let world = World::default();
    let supervisor = started(&world);
    *world.runtime.held_up.lock() = Some(Arc::default());
    assert!(matches!(supervisor.open_stdio().await, Err(Unavailable::NotReady { .. })));
    assert_eq!(supervisor.status().borrow().phase, ServerPhase::Starting);
    phase_within(&supervisor, ServerPhase::BackingOff, LAUNCH_MAX).await;
    at_rest(&supervisor).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_runs_and_does_not_answer_backs_off() {
    let world = World::default();
    let supervisor = started(&world);
    supervisor.mark_not_ready("did not answer `initialize` within 30 s");
    let status = phase(&supervisor, ServerPhase::BackingOff).await;
    assert_eq!(status.reason.as_deref(), Some("did not answer `initialize` within 30 s"));
}

#[tokio::test(start_paused = true)]
async fn what_a_server_said_of_itself_is_shown_once_it_is_ready() {
    let world = World::default();
    let supervisor = started(&world);
    assert_eq!(supervisor.status().borrow().phase, ServerPhase::Starting);
    supervisor.mark_ready(profile());
    let status = supervisor.status().borrow().clone();
    assert_eq!((status.phase, status.profile), (ServerPhase::Running, Some(profile())));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_process_explains_why_it_did_not_answer() {
    for spoke in [false, true] {
        let world = World::default();
        let supervisor = started(&world);
        let (mut connection, mut process) = session(&world, &supervisor).await;
        if spoke {
            speak(&mut connection, &mut process).await;
        }
        process.complain("Error: no API key\n").await;
        process.end(Exit::Code(1));
        assert_eq!(connection.stdout.read(&mut [0; 8]).await.unwrap(), 0);
        // Who probed knows before the exit is seen.
        supervisor.mark_not_ready("the server closed its output");
        let status = phase(&supervisor, ServerPhase::BackingOff).await;
        let reason = status.reason.unwrap();
        assert!(reason.ends_with("Error: no API key"), "{reason}");
        assert_eq!(status.restarts, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_verdict_on_an_earlier_start_is_not_one_on_this() {
    let world = World::default();
    let supervisor = started(&world);
    let (mut connection, mut process) = session(&world, &supervisor).await;
    process.end(Exit::Code(1));
    assert_eq!(connection.stdout.read(&mut [0; 8]).await.unwrap(), 0);
    supervisor.mark_not_ready("late");
    phase(&supervisor, ServerPhase::BackingOff).await;
    supervisor.start();
    tokio::time::sleep(LONG).await;
    let status = supervisor.status().borrow().clone();
    assert_eq!((status.phase, status.restarts), (ServerPhase::Starting, 0));
}

#[tokio::test(start_paused = true)]
async fn a_launch_gets_the_value_of_a_secret_and_nobody_else_does() {
    let world = World::default();
    let mut config = world.config(stdio());
    config.spec.env = [("TOKEN".to_owned(), "Bearer ${secret://store/t}".to_owned())].into();
    *world.secrets.value.lock() = Some("hunter2");
    let supervisor = Supervisor::spawn(config);
    supervisor.start();
    let (_connection, process) = session(&world, &supervisor).await;
    let launch = process.launch.clone();
    assert_eq!(launch.env.get("TOKEN").map(|value| value.as_str()), Some("Bearer hunter2"));
    assert!(!format!("{launch:?}").contains("hunter2"), "{launch:?}");
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_not_there_fails_the_server_and_is_named() {
    let world = World::default();
    let mut config = world.config(stdio());
    config.spec.env = [("TOKEN".to_owned(), "secret://store/t".to_owned())].into();
    let supervisor = Supervisor::spawn(config);
    supervisor.start();
    let told = supervisor.open_stdio().await.unwrap_err().to_string();
    assert!(!told.contains("secret://"), "a client learns nothing of names: {told}");
    let status = supervisor.status().borrow().clone();
    let reason = status.reason.unwrap();
    assert_eq!(status.phase, ServerPhase::Failed, "{reason}");
    assert!(reason.contains("`TOKEN`") && reason.contains("fairlead secret set t"), "{reason}");
}
