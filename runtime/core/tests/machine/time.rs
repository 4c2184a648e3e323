//! Timeouts, waits and pauses between attempts.

use super::*;
use stepback_core::calls::{ClockCall, EbsCall};

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
    let call = Call::Clock(ClockCall::Sleep { duration_ms: 9_000 });
    let begun = |number, call: &Call| Input::WaitBegun {
        id: id(number),
        call: call.clone(),
        since: UnixMs(1_000),
    };
    let mut handle = |input| run.machine.handle(input, UnixMs(2_000)).map(|_| ());
    assert!(handle(begun(2, &call)).is_err(), "call 1 is due");
    assert!(handle(begun(1, &Call::Clock(ClockCall::Now {}))).is_err(), "that is no wait");
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

/// Whatever is due by time alone is begun when its time has come, and never woken for again.
#[test]
fn nothing_is_woken_for_again_and_again() {
    for is_cancelled in [false, true] {
        let script =
            Script { needs: vec![], run_fails: true, answer_lost: false, undo: UndoScript::Works };
        let mut run = Run::new(vec![script.clone(), script]);
        let retry = "retry = { attempts = 3, backoff = \"1s..1s\" }\n";
        run.plan = plan_of(&format!("{}{retry}", run.plan.manifest().text));
        let state = run.machine.state().clone();
        run.machine = Machine::new(Arc::clone(&run.plan), state, OperationId(1), Epoch(1));
        let start = Input::Preflighted { reasons: vec![] };
        let decision = run.machine.handle(start, UnixMs(0)).expect("legal");
        run.take(decision);
        // The first step's effect is under way all the time.
        let asks = |input: &Input| match input {
            Input::EffectAsked { id, .. } => index(&id.of.step) == 0,
            _ => false,
        };
        let asked = run.inputs.iter().position(asks).and_then(|at| run.inputs.remove(at));
        run.machine.handle(asked.expect("it asks"), UnixMs(1)).expect("legal");
        let of =
            AttemptId { step: StepKey::plain("s1"), direction: Direction::Do, attempt: Attempt(1) };
        let failure = Failure::new(FailureClass::Transient, "try again");
        let ended = Input::AttemptEnded { of, result: AttemptResult::Failed(failure) };
        run.machine.handle(ended, UnixMs(2)).expect("legal");
        let wake = run.machine.next_wake().expect("a retry is due");
        if is_cancelled {
            let cancel = Input::Cancel { actor: "ann".into(), reason: None };
            run.machine.handle(cancel, UnixMs(3)).expect("legal");
        }
        for now in [wake, UnixMs(wake.0 + 1), UnixMs(wake.0 + 60_000)] {
            run.machine.handle(Input::Tick, now).expect("legal");
            let next = run.machine.next_wake();
            assert!(next.is_none_or(|next| next > now), "woken at {next:?} for ever, at {now:?}");
        }
    }
}

/// What an engine that is started again fails an undo with passes; whatever else does not.
#[test]
fn an_undo_is_patient_with_what_may_pass_and_with_nothing_else() {
    let tries = |class: FailureClass, every_ms: u64| {
        let mut run = one_step("");
        run.machine.handle(Input::Preflighted { reasons: vec![] }, UnixMs(0)).expect("legal");
        let of = |direction, attempt| AttemptId {
            step: StepKey::plain("s0"),
            direction,
            attempt: Attempt(attempt),
        };
        let id = CallId { of: of(Direction::Do, 1), number: CallNumber(1) };
        let call =
            Call::Ebs(EbsCall::Tag { volume: "vol-0".into(), key: "k".into(), value: "v".into() });
        let token = Token("token".to_owned());
        let asked = Input::EffectAsked { id: id.clone(), call, token, changes: vec![] };
        run.machine.handle(asked, UnixMs(0)).expect("legal");
        let outcome = EffectOutcome::Done(Value::Null);
        let finished = Input::EffectFinished { id, outcome, changes: vec![] };
        run.machine.handle(finished, UnixMs(0)).expect("legal");
        let fails = |of, class| {
            let result = AttemptResult::Failed(Failure::new(class, "why"));
            Input::AttemptEnded { of, result }
        };
        let first = fails(of(Direction::Do, 1), FailureClass::Refused);
        run.machine.handle(first, UnixMs(0)).expect("legal");
        let undo = StepKey::plain("s0");
        for attempt in 1..1_000 {
            let now = UnixMs(u64::from(attempt) * every_ms);
            let input = fails(of(Direction::Undo, attempt), class);
            run.machine.handle(input, now).expect("legal");
            if run.machine.state().steps[&undo].status == StepStatus::UndoFailed {
                return attempt;
            }
        }
        panic!("it is tried for ever");
    };
    assert_eq!(tries(FailureClass::Refused, 10_000), 3);
    // The third of them begins a minute and a half.
    assert_eq!(tries(FailureClass::Transient, 10_000), 3 + 9);
    assert_eq!(tries(FailureClass::Transient, 100_000), 4);
}
