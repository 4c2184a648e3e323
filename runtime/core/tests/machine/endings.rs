//! What counts at the end: what excuses a difference, what is told of it, and what must go on.

use super::claims::{call_id, end, failed, handle, side_by_side, token};
use super::*;
use stepback_core::calls::{DockerCall, EbsCall};
use stepback_core::event::NotRestored;

/// What the provider says of a container that is not as it was.
const ADVICE: &str = "on i-1: docker update --restart always main";

fn container() -> Resource {
    Resource::Container { host: "i-1".into(), name: "main".into() }
}

fn with_restart(restart: &str) -> Facts {
    Facts::from_json(json!({ "id": "c-1", "running": true, "restart": restart }))
}

fn set_restart(restart: &str) -> Call {
    Call::Docker(DockerCall::UpdateContainer {
        host: "i-1".into(),
        container: "main".into(),
        restart: restart.to_owned(),
    })
}

/// An operation of one step, whose attempt has begun; what it declares irreversible is a command.
fn of_one_step(declared: bool) -> Run {
    let mut run = Run::new(vec![Script {
        needs: vec![],
        run_fails: false,
        answer_lost: false,
        undo: UndoScript::Works,
    }]);
    if declared {
        let text = &run.plan.manifest().text;
        run.plan = plan_of(&format!("{text}irreversible = \"it only looks\"\n"));
        let state = run.machine.state().clone();
        run.machine = Machine::new(Arc::clone(&run.plan), state, OperationId(1), Epoch(1));
    }
    handle(&mut run, Input::Preflighted { reasons: vec![] });
    run
}

fn make(run: &mut Run, id: CallId, call: Call, outcome: EffectOutcome, change: [Facts; 2]) {
    let [before, after] = change;
    let token = token(&id);
    let seen = |after| vec![Change { resource: container(), before: before.clone(), after }];
    handle(run, Input::EffectAsked { id: id.clone(), call, token, changes: seen(None) });
    let after = matches!(after, Facts::Present(_)).then_some(after);
    handle(run, Input::EffectFinished { id, outcome, changes: seen(after) });
}

/// The policy stays as the operation set it; the verdict and what is told of it.
fn left_behind(run: &mut Run) -> (Verdict, Vec<NotRestored>) {
    let undo = call_id(0, Direction::Undo, 1);
    let answer = UndoAnswer::CannotUndo("the provider said no".into());
    end(run, &undo, AttemptResult::Undo(answer));
    let now = Ok(Reading { facts: with_restart("no"), advice: ADVICE.to_owned(), renamed: None });
    let observations = vec![Observation { resource: container(), now }];
    handle(run, Input::Observed { observations });
    let state = run.machine.state();
    (state.verdict.expect("it has ended"), state.not_restored.clone())
}

fn done() -> EffectOutcome {
    EffectOutcome::Done(Value::Null)
}

/// What a command did inside a container is none of the container's facts.
#[test]
fn a_declared_command_excuses_nothing_beside_it() {
    let mut run = of_one_step(true);
    let (was, is) = (with_restart("always"), with_restart("no"));
    let id = |number| call_id(0, Direction::Do, number);
    make(&mut run, id(1), set_restart("no"), done(), [was, is.clone()]);
    let exec = Call::Docker(DockerCall::Exec {
        host: "i-1".into(),
        container: "main".into(),
        command: vec!["true".into()],
        timeout_ms: 1_000,
    });
    let unknown = EffectOutcome::Unknown("the runner died".into());
    make(&mut run, id(2), exec, unknown, [is, Facts::Unknown("not read".into())]);
    end(&mut run, &id(2), failed(FailureClass::Refused));
    let (verdict, not_restored) = left_behind(&mut run);
    assert_eq!(verdict, Verdict::Incomplete, "{not_restored:?}");
    assert!(!not_restored[0].declared);
}

/// An undo that was refused has changed nothing, so nobody else has either.
#[test]
fn a_refused_undo_is_blamed_on_nobody() {
    let mut run = of_one_step(false);
    let (was, is) = (with_restart("always"), with_restart("no"));
    let id = call_id(0, Direction::Do, 1);
    make(&mut run, id.clone(), set_restart("no"), done(), [was, is.clone()]);
    end(&mut run, &id, failed(FailureClass::Refused));
    let refused = EffectOutcome::Refused(Failure::new(FailureClass::Refused, "no"));
    let undo = call_id(0, Direction::Undo, 1);
    make(&mut run, undo, set_restart("always"), refused, [is.clone(), is]);
    let (verdict, not_restored) = left_behind(&mut run);
    assert_eq!(verdict, Verdict::Incomplete);
    assert_eq!(not_restored[0].hint, ADVICE);
    let why = &not_restored[0].why;
    assert!(why.starts_with("it is not as it was: restart; undoing `s0`: "), "{why}");
}

/// A runner's death loses what the gate said; what was undone for it is not forgotten.
#[test]
fn what_was_undone_and_is_not_tried_again_ends_the_operation() {
    let mut run = side_by_side(2);
    let window = "[[steps]]\nid = \"s2\"\nuses = \"t/touch\"\nphase = \"downtime\"\n";
    run.plan = plan_of(&format!("{}{window}", run.plan.manifest().text));
    let state = State::fold(&run.journal).expect("it folds");
    run.machine = Machine::new(Arc::clone(&run.plan), state, OperationId(1), Epoch(1));
    let keep = |run: &mut Run, input: Input| {
        let decision = handle(run, input);
        run.journal.extend(decision.records.clone());
        decision
    };
    keep(&mut run, Input::Preflighted { reasons: vec![] });
    for step in 0..2 {
        let id = call_id(step, Direction::Do, 1);
        let volume = format!("vol-{step}");
        let call = Call::Ebs(EbsCall::Tag {
            volume: volume.as_str().into(),
            key: "k".into(),
            value: "v".into(),
        });
        let token = token(&id);
        keep(&mut run, Input::EffectAsked { id: id.clone(), call, token, changes: vec![] });
        let finished = Input::EffectFinished { id: id.clone(), outcome: done(), changes: vec![] };
        keep(&mut run, finished);
        let result = failed(FailureClass::Transient);
        keep(&mut run, Input::AttemptEnded { of: id.of, result });
    }
    keep(&mut run, Input::Gated { reasons: vec!["the new host is full".into()] });
    let undone = || AttemptResult::Undo(UndoAnswer::Undone);
    let first = call_id(0, Direction::Undo, 1).of;
    keep(&mut run, Input::AttemptEnded { of: first, result: undone() });

    let state = State::fold(&run.journal).expect("it folds");
    let mut machine = Machine::new(Arc::clone(&run.plan), state, OperationId(1), Epoch(2));
    machine.recover(Recovery::default(), UnixMs(2_000)).expect("legal");
    let second = call_id(1, Direction::Undo, 1).of;
    let ended = Input::AttemptEnded { of: second, result: undone() };
    machine.handle(ended, UnixMs(3_000)).expect("legal");
    assert_ne!(machine.state().status, Status::Running, "it goes back");
}

/// A runner may die between its verdict and the end: whoever goes on reads the world again.
#[test]
fn a_verdict_without_its_end_is_found_anew() {
    let mut run = side_by_side(1);
    let state = State::fold(&run.journal).expect("it folds");
    run.machine = Machine::new(Arc::clone(&run.plan), state, OperationId(1), Epoch(1));
    let keep = |run: &mut Run, input: Input| {
        let decision = handle(run, input);
        run.journal.extend(decision.records.clone());
    };
    keep(&mut run, Input::Preflighted { reasons: vec![] });
    let of = call_id(0, Direction::Do, 1).of;
    keep(&mut run, Input::AttemptEnded { of, result: failed(FailureClass::Precondition) });
    keep(&mut run, Input::Observed { observations: vec![] });
    let is_end = |record: &Record| matches!(record.event, Event::Finished { .. });
    let end = run.journal.iter().position(is_end).expect("it has ended");
    let left = &run.journal[..end];
    assert!(matches!(left.last().map(|one| &one.event), Some(Event::Verified { .. })));
    let state = State::fold(left).expect("it folds");
    let mut machine = Machine::new(Arc::clone(&run.plan), state, OperationId(1), Epoch(2));
    let decision = machine.recover(Recovery::default(), UnixMs(2_000)).expect("legal");
    assert!(decision.commands.contains(&Command::Verify), "{:?}", decision.commands);
    machine.handle(Input::Observed { observations: vec![] }, UnixMs(3_000)).expect("legal");
    assert_eq!(machine.state().status, Status::RolledBack);
}

/// What has the name by now may be another thing: what the provider says of it would change what
/// somebody else made.
#[test]
fn another_one_of_that_name_is_left_to_whoever_made_it() {
    let mut run = of_one_step(false);
    let id = call_id(0, Direction::Do, 1);
    let policies = [with_restart("always"), with_restart("no")];
    make(&mut run, id.clone(), set_restart("no"), done(), policies);
    end(&mut run, &id, failed(FailureClass::Refused));
    let answer = UndoAnswer::CannotUndo("that is another one by now".into());
    end(&mut run, &call_id(0, Direction::Undo, 1), AttemptResult::Undo(answer));
    let facts = Facts::from_json(json!({ "id": "c-2", "running": true, "restart": "no" }));
    let now = Ok(Reading { facts, advice: ADVICE.to_owned(), renamed: None });
    let observations = vec![Observation { resource: container(), now }];
    handle(&mut run, Input::Observed { observations });
    let hint = &run.machine.state().not_restored[0].hint;
    assert!(hint.starts_with("it is not this operation's: leave it"), "{hint}");
}

/// What can't be read is nobody else's for that.
#[test]
fn what_can_not_be_read_is_not_called_somebody_elses() {
    let mut run = of_one_step(false);
    let id = call_id(0, Direction::Do, 1);
    let policies = [with_restart("always"), with_restart("no")];
    make(&mut run, id.clone(), set_restart("no"), done(), policies);
    end(&mut run, &id, failed(FailureClass::Refused));
    let answer = UndoAnswer::CannotUndo("it could not be read".into());
    end(&mut run, &call_id(0, Direction::Undo, 1), AttemptResult::Undo(answer));
    let facts = Facts::Unknown("it does not answer".to_owned());
    let now = Ok(Reading { facts, advice: ADVICE.to_owned(), renamed: None });
    let observations = vec![Observation { resource: container(), now }];
    handle(&mut run, Input::Observed { observations });
    let hint = &run.machine.state().not_restored[0].hint;
    assert!(hint.starts_with("mend what keeps it from being read"), "{hint}");
}

/// What runs and did not is stopped before its volume is taken from it; what ran is started when
/// its volume is there again.
#[test]
fn what_is_left_is_told_in_the_order_in_which_it_is_put_back() {
    let mut run = of_one_step(false);
    let of = |host: &str| Resource::Container { host: host.into(), name: "main".into() };
    let volume = Resource::Volume { id: "vol-1".into() };
    let up = |up: bool| Facts::from_json(json!({ "running": up }));
    let at = |host: &str| Facts::from_json(json!({ "attachments": host }));
    let id = call_id(0, Direction::Do, 1);
    let (old, new) = (of("i-1"), of("i-2"));
    let before = [(&volume, at("i-1")), (&old, up(true)), (&new, Facts::Absent)];
    let call = set_restart("no");
    let changes = |after: [Option<Facts>; 3]| {
        let all = before.clone().into_iter().zip(after);
        let of = |((resource, before), after): ((&Resource, Facts), Option<Facts>)| Change {
            resource: resource.clone(),
            before,
            after,
        };
        all.map(of).collect::<Vec<_>>()
    };
    let (token, asked) = (token(&id), changes([None, None, None]));
    handle(&mut run, Input::EffectAsked { id: id.clone(), call, token, changes: asked });
    let after = changes([Some(at("i-2")), Some(up(false)), Some(up(true))]);
    handle(&mut run, Input::EffectFinished { id: id.clone(), outcome: done(), changes: after });
    end(&mut run, &id, failed(FailureClass::Refused));
    let answer = UndoAnswer::CannotUndo("the provider said no".into());
    end(&mut run, &call_id(0, Direction::Undo, 1), AttemptResult::Undo(answer));
    let now = [(&volume, at("i-2")), (&old, up(false)), (&new, up(true))];
    let observations = now.into_iter().map(|(resource, facts)| Observation {
        resource: resource.clone(),
        now: Ok(Reading { facts, advice: ADVICE.to_owned(), renamed: None }),
    });
    handle(&mut run, Input::Observed { observations: observations.collect() });
    let left = run.machine.state().not_restored.iter().map(|one| one.resource.clone());
    assert_eq!(left.collect::<Vec<_>>(), [new, volume, old]);
}
