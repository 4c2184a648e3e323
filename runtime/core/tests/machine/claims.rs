//! Effects of steps side by side that change the same (R6).

use super::*;
use stepback_core::calls::{DockerCall, EbsCall};

/// Steps side by side, each with retries, whose first attempts have begun.
pub fn side_by_side(steps: usize) -> Run {
    let script =
        Script { needs: vec![], run_fails: false, answer_lost: false, undo: UndoScript::Works };
    let mut run = Run::new(vec![script; steps]);
    let more = "retry = { attempts = 3, backoff = \"1s..1s\" }\ntimeout = \"60s\"\n";
    let text = run.plan.manifest().text.replace("needs = []\n", &format!("needs = []\n{more}"));
    run.plan = plan_of(&text);
    let state = run.machine.state().clone();
    run.machine = Machine::new(Arc::clone(&run.plan), state, OperationId(1), Epoch(1));
    handle(&mut run, Input::Preflighted { reasons: vec![] });
    run
}

pub fn handle(run: &mut Run, input: Input) -> Decision {
    run.machine.handle(input, UnixMs(1_000)).expect("legal")
}

pub fn call_id(step: usize, direction: Direction, number: u32) -> CallId {
    let step = StepKey::plain(&format!("s{step}"));
    let of = AttemptId { step, direction, attempt: Attempt(1) };
    CallId { of, number: CallNumber(number) }
}

pub fn token(id: &CallId) -> Token {
    Token::derive(&"store".into(), OperationId(1), id)
}

/// What a step's effect comes to that it wants to make.
#[derive(Debug, PartialEq)]
enum Wish {
    Granted,
    Waits(Vec<String>),
    Denied(String),
}

fn want(run: &mut Run, id: &CallId, call: &Call) -> Wish {
    let token = token(id);
    let decision = handle(run, Input::EffectWanted { id: id.clone(), call: call.clone(), token });
    if let Some(denied) = decision.commands.iter().find_map(|command| match command {
        Command::Deny { failure, .. } => failure.code.clone(),
        _ => None,
    }) {
        return Wish::Denied(denied);
    }
    match is_granted(&decision, id) {
        true => Wish::Granted,
        false => Wish::Waits(decision.records.iter().find_map(behind).expect("it waits")),
    }
}

fn is_granted(decision: &Decision, id: &CallId) -> bool {
    let is_it = |command: &Command| matches!(command, Command::Grant { id: one } if one == id);
    decision.commands.iter().any(is_it)
}

fn behind(record: &Record) -> Option<Vec<String>> {
    match &record.event {
        Event::EffectWaits { behind, .. } => Some(behind.iter().map(ToString::to_string).collect()),
        _ => None,
    }
}

/// It is granted and made.
fn make(run: &mut Run, id: &CallId, call: Call) {
    assert_eq!(want(run, id, &call), Wish::Granted, "{id}");
    let token = token(id);
    handle(run, Input::EffectAsked { id: id.clone(), call, token, changes: vec![] });
    let outcome = EffectOutcome::Done(Value::Null);
    handle(run, Input::EffectFinished { id: id.clone(), outcome, changes: vec![] });
}

pub fn end(run: &mut Run, id: &CallId, result: AttemptResult) -> Decision {
    handle(run, Input::AttemptEnded { of: id.of.clone(), result })
}

pub fn failed(class: FailureClass) -> AttemptResult {
    AttemptResult::Failed(Failure::new(class, "no"))
}

fn tag(volume: &str) -> Call {
    Call::Ebs(EbsCall::Tag { volume: volume.into(), key: "k".into(), value: "v".into() })
}

fn main_container() -> (InstanceId, ContainerName) {
    ("i-1".into(), "main".into())
}

fn start() -> Call {
    let (host, container) = main_container();
    Call::Docker(DockerCall::StartContainer { host, container })
}

fn set_restart() -> Call {
    let (host, container) = main_container();
    Call::Docker(DockerCall::UpdateContainer { host, container, restart: "always".into() })
}

fn rename() -> Call {
    let (host, container) = main_container();
    Call::Docker(DockerCall::RenameContainer { host, container, to: "old".into() })
}

/// Who waits may have more in its way later on than when it began to wait.
#[test]
fn a_circle_of_waits_is_seen_however_it_came_about() {
    use Direction::Do;
    let mut run = side_by_side(3);
    make(&mut run, &call_id(1, Do, 1), start());
    make(&mut run, &call_id(0, Do, 1), tag("vol-x"));
    let waits = want(&mut run, &call_id(0, Do, 2), &rename());
    assert_eq!(waits, Wish::Waits(vec!["s1".into()]));
    make(&mut run, &call_id(2, Do, 1), set_restart());
    let closes = want(&mut run, &call_id(2, Do, 2), &tag("vol-x"));
    assert_eq!(closes, Wish::Denied("waits-in-a-circle".into()));
    // Without the circle it goes on when both are done.
    end(&mut run, &call_id(2, Do, 1), AttemptResult::Output(json!({})));
    let last = end(&mut run, &call_id(1, Do, 1), AttemptResult::Output(json!({})));
    assert!(is_granted(&last, &call_id(0, Do, 2)), "{last:?}");
}

/// A grant that was not used stands in nobody's way.
#[test]
fn what_was_granted_and_not_made_lets_others_go_on() {
    use Direction::Do;
    let mut run = side_by_side(2);
    let (first, second) = (call_id(0, Do, 1), call_id(1, Do, 1));
    assert_eq!(want(&mut run, &first, &tag("vol-x")), Wish::Granted);
    assert_eq!(want(&mut run, &second, &tag("vol-x")), Wish::Waits(vec!["s0".into()]));
    let result = Err(Failure::new(FailureClass::Transient, "it could not be read"));
    let decision = handle(&mut run, Input::Answered { id: first, call: tag("vol-x"), result });
    assert!(is_granted(&decision, &second), "{decision:?}");
}

/// Reading what it changes may take long, too.
#[test]
fn a_steps_time_runs_again_when_its_effect_waits_no_longer() {
    use Direction::Do;
    let mut run = side_by_side(2);
    make(&mut run, &call_id(0, Do, 1), tag("vol-x"));
    assert_eq!(want(&mut run, &call_id(1, Do, 1), &tag("vol-x")), Wish::Waits(vec!["s0".into()]));
    let of = call_id(0, Do, 1).of;
    let ended = Input::AttemptEnded { of, result: AttemptResult::Output(json!({})) };
    run.machine.handle(ended, UnixMs(50_000)).expect("legal");
    assert_eq!(run.machine.next_wake(), Some(UnixMs(110_000)), "the wait did not count");
    let late = run.machine.handle(Input::Tick, UnixMs(110_000)).expect("legal");
    assert!(late.commands.iter().any(|command| matches!(command, Command::Interrupt { .. })));
}

/// What has failed lets go of what it changed only when all is rolled back, and that begins only
/// when nothing runs any more.
#[test]
fn an_undo_before_another_attempt_does_not_wait_for_what_has_failed() {
    use Direction::{Do, Undo};
    let mut run = side_by_side(2);
    make(&mut run, &call_id(0, Do, 1), tag("vol-x"));
    make(&mut run, &call_id(1, Do, 1), tag("vol-y"));
    end(&mut run, &call_id(1, Do, 1), failed(FailureClass::Transient));
    end(&mut run, &call_id(0, Do, 1), failed(FailureClass::Refused));
    let undo = call_id(1, Undo, 1);
    assert!(run.machine.state().steps[&undo.of.step].open.is_some(), "its undo has begun");
    assert_eq!(want(&mut run, &undo, &tag("vol-x")), Wish::Granted);
}
