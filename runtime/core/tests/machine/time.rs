//! Timeouts, waits and pauses between attempts.

use super::*;

/// An operation of one step with this line in its manifest, whose attempt has begun.
fn one_step(line: &str) -> Run {
    let mut run = Run::new(vec![Script {
        needs: vec![],
        run_fails: true,
        answer_lost: false,
        undo: UndoScript::Works,
    }]);
    let text = format!("{}{line}\n", run.plan.manifest().text);
    run.plan = plan_of(&text);
    let state = run.machine.state().clone();
    run.machine = Machine::new(Arc::clone(&run.plan), state, OperationId(1), Epoch(1));
    run
}

#[test]
fn a_steps_timeout_stands_still_while_no_runner_lives() {
    let mut run = one_step("timeout = \"60s\"");
    let start = Input::Preflighted { reasons: vec![] };
    let decision = run.machine.handle(start, UnixMs(1_000)).expect("legal");
    run.journal.extend(decision.records);
    assert_eq!(run.machine.next_wake(), Some(UnixMs(61_000)));
    // Nobody ran it from second 11 to second 3611.
    let state = State::fold(&run.journal).expect("it folds");
    let mut machine = Machine::new(Arc::clone(&run.plan), state, OperationId(1), Epoch(2));
    let recovery = Recovery { dead_ms: 3_600_000, ..Recovery::default() };
    let decision = machine.recover(recovery, UnixMs(3_611_000)).expect("legal");
    assert!(
        !decision.commands.iter().any(|command| matches!(command, Command::Interrupt { .. })),
        "dead time is not the step's"
    );
    assert_eq!(machine.next_wake(), Some(UnixMs(3_661_000)));
    let late = machine.handle(Input::Tick, UnixMs(3_661_000)).expect("legal");
    assert!(late.commands.iter().any(|command| matches!(command, Command::Interrupt { .. })));
}

/// Only one wait can begin, where the next call is due, and its answer ends it.
#[test]
fn a_wait_begins_once_and_ends_with_its_answer() {
    let mut run = one_step("timeout = \"60s\"");
    let start = Input::Preflighted { reasons: vec![] };
    run.machine.handle(start, UnixMs(1_000)).expect("legal");
    let id = |number| CallId {
        of: AttemptId { step: StepKey::plain("s0"), direction: Direction::Do, attempt: Attempt(1) },
        number: CallNumber(number),
    };
    let call = Call::ClockSleep { duration_ms: 9_000 };
    let begun = |number, call: &Call| Input::WaitBegun {
        id: id(number),
        call: call.clone(),
        since: UnixMs(1_000),
    };
    let mut handle = |input| run.machine.handle(input, UnixMs(2_000)).map(|_| ());
    assert!(handle(begun(2, &call)).is_err(), "call 1 is due");
    assert!(handle(begun(1, &Call::ClockNow {})).is_err(), "that is no wait");
    handle(begun(1, &call)).expect("legal");
    assert!(handle(begun(1, &call)).is_err(), "it has begun");
    handle(Input::Answered { id: id(1), call: call.clone(), result: Ok(Value::Null) })
        .expect("legal");
    handle(begun(2, &call)).expect("legal");
}

#[test]
fn a_retrys_pause_is_between_half_and_all_of_its_backoff() {
    let mut run = one_step("retry = { attempts = 4, backoff = \"8s..8s\" }");
    let start = Input::Preflighted { reasons: vec![] };
    run.machine.handle(start, UnixMs(0)).expect("legal");
    let mut pauses = vec![];
    for attempt in 1..4 {
        let of = AttemptId {
            step: StepKey::plain("s0"),
            direction: Direction::Do,
            attempt: Attempt(attempt),
        };
        let failure = Failure::new(FailureClass::Transient, "try again");
        let ended = Input::AttemptEnded { of, result: AttemptResult::Failed(failure) };
        let now = UnixMs(u64::from(attempt) * 100_000);
        run.machine.handle(ended, now).expect("legal");
        let wake = run.machine.next_wake().expect("a retry is due");
        pauses.push(wake.0 - now.0);
        run.machine.handle(Input::Tick, wake).expect("legal");
    }
    assert!(pauses.iter().all(|pause| (4_000..=8_000).contains(pause)), "{pauses:?}");
    assert!(pauses.windows(2).any(|two| two[0] != two[1]), "{pauses:?}: no jitter");
}
