//! The machine under random graphs, random outcomes and a journal cut anywhere.
//!
//! The world is a map from resource to facts; every step makes one effect on a resource of its
//! own and one on a shared one. Whatever happens, the operation must end, undo in the reverse
//! order of what really started, and end with a verdict that fits the world.

use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use stepback_core::event::{AttemptResult, Event, FinalStatus, Pinned, Record, Verdict};
use stepback_core::machine::{Command, Decision, Input, Machine, Observation, Reading, Recovery};
use stepback_core::plan::Plan;
use stepback_core::state::{State, Status, StepStatus};
use stepback_core::step::{Change, EffectOutcome, StepInfo, UndoAnswer};
use stepback_core::*;

mod claims;
mod endings;
mod time;

/// What one step will do.
#[derive(Clone, Debug)]
struct Script {
    needs: Vec<usize>,
    run_fails: bool,
    answer_lost: bool,
    undo: UndoScript,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum UndoScript {
    Works,
    FailsOnce,
    Fails,
    /// Answers `undone` and does nothing.
    Lies,
}

fn scripts() -> impl Strategy<Value = Vec<Script>> {
    let undo = prop_oneof![
        6 => Just(UndoScript::Works),
        1 => Just(UndoScript::FailsOnce),
        1 => Just(UndoScript::Fails),
        1 => Just(UndoScript::Lies),
    ];
    let one = (any::<u16>(), prop::bool::weighted(0.15), prop::bool::weighted(0.1), undo);
    prop::collection::vec(one, 1..9).prop_map(|all| {
        let script =
            |(i, (bits, run_fails, answer_lost, undo)): (usize, (u16, bool, bool, UndoScript))| {
                let needs = (0..i).filter(|j| bits >> (j % 16) & 3 == 3).collect();
                Script { needs, run_fails, answer_lost, undo }
            };
        all.into_iter().enumerate().map(script).collect()
    })
}

fn plan(scripts: &[Script]) -> Arc<Plan> {
    let mut text = String::from("schema = 1\n[operation]\nname = \"random\"\n");
    for (i, script) in scripts.iter().enumerate() {
        let needs: Vec<String> = script.needs.iter().map(|j| format!("\"s{j}\"")).collect();
        let needs = needs.join(", ");
        text.push_str(&format!(
            "[[steps]]\nid = \"s{i}\"\nuses = \"t/touch\"\nneeds = [{needs}]\n"
        ));
    }
    plan_of(&text)
}

fn plan_of(text: &str) -> Arc<Plan> {
    let manifest = manifest::parse("random.toml", text).expect("the generated manifest is valid");
    let info = StepInfo {
        name: "touch".into(),
        doc: String::new(),
        input_schema: json!({}),
        output_schema: json!({}),
        reversible: true,
    };
    let offers = BTreeMap::from([("t".to_owned(), vec![info].into())]);
    Arc::new(Plan::new(manifest, &offers).expect("the generated manifest fits its plugin"))
}

struct Run {
    scripts: Vec<Script>,
    plan: Arc<Plan>,
    machine: Machine,
    journal: Vec<Record>,
    world: BTreeMap<String, u64>,
    inputs: VecDeque<Input>,
    clock_ms: u64,
    undo_started: Vec<StepKey>,
}

fn resource(step: &StepKey) -> Resource {
    Resource::Volume { id: step.step.0.clone() }
}

fn index(step: &StepKey) -> usize {
    step.step.0[1..].parse().expect("steps are called s0, s1, …")
}

impl Run {
    fn new(scripts: Vec<Script>) -> Self {
        let plan = plan(&scripts);
        let machine = Machine::new(Arc::clone(&plan), State::default(), OperationId(1), Epoch(1));
        let world = (0..scripts.len()).map(|i| (format!("s{i}"), 0)).collect();
        let mut run = Run {
            scripts,
            plan,
            machine,
            journal: vec![],
            world,
            inputs: VecDeque::new(),
            clock_ms: 0,
            undo_started: vec![],
        };
        let pinned = Pinned {
            manifest_name: "random.toml".into(),
            manifest: run.plan.manifest().text.clone(),
            inputs: BTreeMap::new(),
            environment: "local".into(),
            world: Value::Null,
            plugins: BTreeMap::new(),
            locks: vec![],
            actor: "test".into(),
            store: "store".into(),
            grants: BTreeMap::new(),
            secrets: BTreeMap::new(),
            bounds: Default::default(),
            key: None,
        };
        let at = UnixMs(0);
        let event = Event::Created(pinned.into());
        let record = Record { seq: Seq(1), at, epoch: Epoch(1), event };
        let mut state = State::default();
        state.apply(&record).expect("the first event is legal");
        run.journal.push(record);
        run.machine = Machine::new(Arc::clone(&run.plan), state, OperationId(1), Epoch(1));
        run.inputs.push_back(Input::Preflighted { reasons: vec![] });
        run
    }

    fn facts(&self, step: &StepKey) -> Facts {
        Facts::from_json(json!({ "value": self.world[&step.step.0] }))
    }

    /// Feed inputs until nothing is left, or until the journal has `cut` events.
    fn go(&mut self, cut: usize, pick: &mut impl FnMut(usize) -> usize) {
        let mut rounds = 0;
        while !self.machine.state().status.is_final() && self.journal.len() < cut {
            rounds += 1;
            assert!(rounds < 10_000, "the operation does not end");
            self.clock_ms += 10_000;
            let input = if self.inputs.is_empty() {
                Input::Tick
            } else {
                let i = pick(self.inputs.len());
                self.inputs.remove(i).expect("an index within the queue")
            };
            let asked = input.clone();
            let decision = self.machine.handle(input, UnixMs(self.clock_ms)).expect("legal");
            let wake = self.machine.next_wake();
            assert!(wake.is_none_or(|at| at.0 > self.clock_ms), "it wakes again at once");
            self.take(decision);
            self.perform_asked(&asked);
        }
    }

    fn take(&mut self, decision: Decision) {
        self.journal.extend(decision.records);
        for command in decision.commands {
            match command {
                Command::StartAttempt(order) => self.start(order.of),
                Command::Interrupt { .. }
                | Command::Gate { .. }
                | Command::Grant { .. }
                | Command::Deny { .. }
                | Command::Evaluate { .. }
                | Command::EvaluateOutputs { .. } => {}
                Command::Verify => {
                    let state = self.machine.state();
                    let observations = state.baselines.iter().map(|(resource, _)| {
                        let Resource::Volume { id } = resource else { unreachable!() };
                        let facts = Facts::from_json(json!({ "value": self.world[id] }));
                        let now =
                            Ok(Reading { facts, advice: "put it back".to_owned(), renamed: None });
                        Observation { resource: resource.clone(), now }
                    });
                    let observations = observations.collect();
                    self.inputs.push_back(Input::Observed { observations });
                }
            }
        }
    }

    fn start(&mut self, of: AttemptId) {
        let script = self.scripts[index(&of.step)].clone();
        if of.direction == Direction::Undo {
            self.undo_started.push(of.step.clone());
            let result = match script.undo {
                UndoScript::FailsOnce if of.attempt.0 == 1 => self.refuse(),
                UndoScript::Fails => self.refuse(),
                UndoScript::Lies => AttemptResult::Undo(UndoAnswer::Undone),
                UndoScript::Works | UndoScript::FailsOnce => {
                    self.world.insert(of.step.step.0.clone(), 0);
                    AttemptResult::Undo(UndoAnswer::Undone)
                }
            };
            self.inputs.push_back(Input::AttemptEnded { of, result });
            return;
        }
        let open = self.machine.state().steps[&of.step].open.clone().expect("it was started");
        if !open.calls.is_empty() {
            // Taken up again: the effect was made, and what became of it is settled by looking.
            let id = CallId { of: of.clone(), number: CallNumber(1) };
            let effect = self.machine.state().effect(&id).expect("it is journaled").clone();
            if matches!(effect.outcome, EffectOutcome::Unknown(_)) && !script.answer_lost {
                return self.perform(id);
            }
            return self.end(of, &script);
        }
        let changes = vec![Change {
            resource: resource(&of.step),
            before: self.facts(&of.step),
            after: None,
        }];
        let call = Call::Ebs(EbsCall::Tag {
            volume: of.step.step.0.as_str().into(),
            key: "k".into(),
            value: "v".into(),
        });
        let id = CallId { of, number: CallNumber(1) };
        let token = Token::derive(&"store".into(), OperationId(1), &id);
        self.inputs.push_back(Input::EffectAsked { id, call, token, changes });
    }

    /// An effect whose intent is journaled is made.
    fn perform_asked(&mut self, input: &Input) {
        if let Input::EffectAsked { id, .. } = input {
            self.perform(id.clone());
        }
    }

    fn refuse(&self) -> AttemptResult {
        AttemptResult::Failed(Failure::new(FailureClass::Refused, "the provider said no"))
    }

    fn perform(&mut self, id: CallId) {
        let script = self.scripts[index(&id.of.step)].clone();
        let effect = self.machine.state().effect(&id).expect("it is journaled").clone();
        self.world.insert(id.of.step.step.0.clone(), 1);
        let after = Some(self.facts(&id.of.step));
        let mut changes = effect.changes;
        let outcome = if script.answer_lost {
            EffectOutcome::Unknown("the connection was reset".into())
        } else {
            changes[0].after = after;
            EffectOutcome::Done(Value::Null)
        };
        let of = id.of.clone();
        let finished = Input::EffectFinished { id, outcome, changes };
        let decision = self.machine.handle(finished, UnixMs(self.clock_ms)).expect("legal");
        self.take(decision);
        self.end(of, &script);
    }

    fn end(&mut self, of: AttemptId, script: &Script) {
        let result = if script.run_fails || script.answer_lost {
            self.refuse()
        } else {
            AttemptResult::Output(json!({}))
        };
        self.inputs.push_back(Input::AttemptEnded { of, result });
    }

    /// The process is killed: only the journal and the world are left.
    fn kill(&mut self, at: usize) {
        // What was decided in one go is appended in one go.
        self.journal.truncate(self.journal.len().min(at.max(1)));
        let state = State::fold(&self.journal).expect("every prefix folds");
        self.inputs.clear();
        let plan = Arc::clone(&self.plan);
        self.machine = Machine::new(plan, state, OperationId(1), Epoch(2));
        if self.machine.state().status == Status::Queued {
            self.inputs.push_back(Input::Preflighted { reasons: vec![] });
            return;
        }
        let decision =
            self.machine.recover(Recovery::default(), UnixMs(self.clock_ms)).expect("legal");
        self.take(decision);
    }

    /// A person mends what the undos left, and asks for the rollback to be taken up again.
    fn resume_rollback(&mut self) -> Vec<StepKey> {
        let state = State::fold(&self.journal).expect("the journal folds");
        let failed = state.steps.iter().filter(|(_, step)| step.status == StepStatus::UndoFailed);
        let failed: Vec<StepKey> = failed.map(|(key, _)| key.clone()).collect();
        for (i, script) in self.scripts.iter_mut().enumerate() {
            if script.undo == UndoScript::Lies {
                self.world.insert(format!("s{i}"), 0);
            }
            script.undo = UndoScript::Works;
        }
        self.undo_started.clear();
        let plan = Arc::clone(&self.plan);
        self.machine = Machine::new(plan, state, OperationId(1), Epoch(3));
        let resumed = Input::ResumeRollback { actor: "ann".into() };
        let decision = self.machine.handle(resumed, UnixMs(self.clock_ms)).expect("legal");
        self.take(decision);
        failed
    }

    fn check_end(&self) -> Result<(), TestCaseError> {
        let folded = State::fold(&self.journal).expect("the journal folds");
        prop_assert_eq!(&folded, self.machine.state());
        let changed = self.world.values().any(|value| *value != 0);
        match folded.status {
            Status::Succeeded => {
                prop_assert!(self.world.values().all(|value| *value == 1));
            }
            Status::RolledBack => {
                prop_assert!(!changed, "{:?} says restored", folded.verdict);
                prop_assert_eq!(folded.verdict, Some(Verdict::Restored));
            }
            Status::RollbackFailed => {
                prop_assert!(changed);
                prop_assert_eq!(folded.verdict, Some(Verdict::Incomplete));
                let named = folded.not_restored.len();
                prop_assert_eq!(named, self.world.values().filter(|value| **value != 0).count());
            }
            other => prop_assert!(false, "it ended {other:?}"),
        }
        Ok(())
    }

    /// No undo starts while a step that came after it in the graph still needs its own.
    fn check_undo_order(&self) -> Result<(), TestCaseError> {
        let mut ended: Vec<&StepKey> = vec![];
        for record in &self.journal {
            match &record.event {
                Event::UndoEnded { step, .. } => ended.push(step),
                Event::UndoStarted { step, .. } => {
                    for later in self.machine.state().steps.iter().filter(|(_, s)| s.needs_undo()) {
                        let needs = &self.scripts[index(later.0)].needs;
                        if needs.contains(&index(step)) {
                            prop_assert!(ended.contains(&later.0), "{step} before {}", later.0);
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_operation_ends_and_says_the_truth(scripts in scripts(), seed in any::<u64>()) {
        let mut run = Run::new(scripts);
        let mut random = seed;
        run.go(usize::MAX, &mut |n| {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (random >> 33) as usize % n
        });
        run.check_end()?;
        run.check_undo_order()?;
    }

    #[test]
    fn a_killed_operation_goes_on_from_its_journal(
        scripts in scripts(),
        cuts in prop::collection::vec(1usize..60, 1..4),
    ) {
        let mut run = Run::new(scripts);
        for cut in cuts {
            run.go(cut, &mut |_| 0);
            if !run.machine.state().status.is_final() {
                run.kill(run.journal.len());
            }
        }
        run.go(usize::MAX, &mut |_| 0);
        run.check_end()?;
        run.check_undo_order()?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn an_incomplete_rollback_is_taken_up_again_where_it_stands(scripts in scripts()) {
        let mut run = Run::new(scripts);
        run.go(usize::MAX, &mut |_| 0);
        if run.machine.state().status != Status::RollbackFailed {
            return Ok(());
        }
        let failed = run.resume_rollback();
        run.go(usize::MAX, &mut |_| 0);
        prop_assert_eq!(run.machine.state().status, Status::RolledBack);
        run.check_end()?;
        let again: BTreeSet<&StepKey> = run.undo_started.iter().collect();
        prop_assert_eq!(again, failed.iter().collect::<BTreeSet<_>>(), "only what was not undone");
    }
}

#[test]
fn a_cancel_asked_while_nobody_ran_it_comes_before_anything_else() {
    let mut run = Run::new(vec![
        Script {
            needs: vec![],
            run_fails: false,
            answer_lost: false,
            undo: UndoScript::Works
        };
        2
    ]);
    run.go(3, &mut |_| 0);
    let state = State::fold(&run.journal).expect("it folds");
    let mut machine = Machine::new(Arc::clone(&run.plan), state, OperationId(1), Epoch(2));
    let cancel = Some(("ann".into(), Some("wrong night".to_owned())));
    let recovery = Recovery { cancel, ..Recovery::default() };
    let decision = machine.recover(recovery, UnixMs(1)).expect("legal");
    let names: Vec<_> = decision.records.iter().map(|record| record.event.name()).collect();
    assert_eq!(&names[..2], ["taken-up", "cancel-requested"]);
}

#[test]
fn an_event_out_of_place_is_illegal() {
    let run = Run::new(vec![Script {
        needs: vec![],
        run_fails: false,
        answer_lost: false,
        undo: UndoScript::Works,
    }]);
    let mut state = run.machine.state().clone();
    let (outputs, unknown_outputs) = (BTreeMap::new(), BTreeMap::new());
    let event = Event::Finished { status: FinalStatus::Succeeded, outputs, unknown_outputs };
    let record = Record { seq: Seq(2), at: UnixMs(1), epoch: Epoch(1), event };
    assert!(state.apply(&record).is_err());
    let record = Record { seq: Seq(3), at: UnixMs(1), epoch: Epoch(1), event: Event::Started };
    assert!(state.apply(&record).is_err(), "a gap in the sequence is illegal");
}
