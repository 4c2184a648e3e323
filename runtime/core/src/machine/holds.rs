//! Effects that wait until another running step is done, which changed the same facts (R6).
//!
//! An effect is wanted before anything of it is read. It is granted at once unless what it changes
//! overlaps what another running step has changed; then it waits for that step, first come first
//! served. A wait that would close a circle is denied: nobody in it could ever go on. Only a new
//! wait can close one, because who waits changes nothing more. While the operation rolls back
//! nothing waits here, because undos have their order.

use super::*;
use crate::calls::Area;

/// An effect that was asked for and is not granted yet.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    id: CallId,
    call: Call,
    areas: Vec<Area>,
}

/// The claims of the steps that run, as the journal has them.
pub(super) fn claims_of(state: &State) -> Claims {
    let mut claims = Claims::default();
    if state.status != Status::Running {
        return claims;
    }
    for effect in state.active_steps().flat_map(|(_, step)| step.to_undo()).map(|(_, one)| one) {
        claims.claim(&effect.id, areas_of(&effect.call, &effect.token, &effect.changes));
    }
    claims
}

/// What an effect changes; what it created by its own name too, once that is known.
pub(super) fn areas_of(call: &Call, token: &Token, changes: &[Change]) -> Vec<Area> {
    let mut areas = call.areas(token);
    let touched = call.resources(token);
    let named = changes.iter().map(|change| &change.resource);
    let named = named.filter(|resource| !touched.contains(resource));
    areas.extend(named.map(|resource| Area::Resource(resource.clone())));
    areas
}

impl Machine {
    pub(super) fn handle_wanted(
        &mut self,
        id: CallId,
        call: Call,
        token: &Token,
    ) -> Result<(), IllegalEvent> {
        let areas = call.areas(token);
        if self.state.status != Status::Running {
            self.decision.commands.push(Command::Grant { id });
            return Ok(());
        }
        let behind = self.in_the_way(&id, &areas);
        if behind.is_empty() {
            self.claims.claim(&id, areas);
            self.decision.commands.push(Command::Grant { id });
            return Ok(());
        }
        if let Some(circle) = self.circle_of(&id.of.step, &behind) {
            let failure = closes_a_circle(&id.of.step, &call, &circle);
            self.decision.commands.push(Command::Deny { id, failure });
            return Ok(());
        }
        let steps = behind.iter().cloned().collect();
        self.emit(Event::EffectWaits { id: id.clone(), call: call.clone(), behind: steps })?;
        self.wanted.push(Wanted { id, call, areas });
        Ok(())
    }

    /// The steps that an effect has to wait for. An undo before another attempt waits for none that
    /// has failed: that one lets go of what it changed only when all is rolled back, which waits
    /// for this undo.
    fn in_the_way(&self, id: &CallId, areas: &[Area]) -> BTreeSet<StepKey> {
        let mut behind = self.claims.in_the_way(&id.of.step, areas);
        if id.of.direction == Direction::Undo {
            let has_failed = |key: &StepKey| {
                self.state.steps.get(key).is_some_and(|step| step.status == StepStatus::Failed)
            };
            behind.retain(|key| !has_failed(key));
        }
        behind
    }

    /// The steps on the way from those in the way back to the one that would wait for them.
    fn circle_of(&self, waits: &StepKey, behind: &BTreeSet<StepKey>) -> Option<Vec<StepKey>> {
        // As it is by now: others may have changed the same since the wait began.
        let in_its_way = |wanted: &Wanted| self.in_the_way(&wanted.id, &wanted.areas);
        let waiting: BTreeMap<&StepKey, BTreeSet<StepKey>> =
            self.wanted.iter().map(|wanted| (&wanted.id.of.step, in_its_way(wanted))).collect();
        let mut came_from: BTreeMap<StepKey, Option<StepKey>> =
            behind.iter().map(|key| (key.clone(), None)).collect();
        let mut to_visit: Vec<StepKey> = behind.iter().cloned().collect();
        while let Some(at) = to_visit.pop() {
            for next in waiting.get(&at).into_iter().flatten() {
                if next == waits {
                    let back = |key: &StepKey| came_from.get(key).cloned().flatten();
                    let mut circle: Vec<_> =
                        std::iter::successors(Some(at.clone()), back).collect();
                    circle.reverse();
                    return Some(circle);
                }
                if !came_from.contains_key(next) {
                    came_from.insert(next.clone(), Some(at.clone()));
                    to_visit.push(next.clone());
                }
            }
        }
        None
    }

    /// After an event: what its step no longer changes, others may.
    pub(super) fn release_claims(&mut self, event: &Event) {
        let released = match event {
            Event::CallStarted { id, call, token, .. } => {
                if !self.claims.has(id) {
                    self.claims.claim(id, call.areas(token));
                }
                false
            }
            // Denied, cancelled while it waited, or granted and then not made.
            Event::CallAnswered { id, .. } => {
                let is_let_go = self.claims.has(id) || self.wanted.iter().any(|one| one.id == *id);
                self.wanted.retain(|wanted| wanted.id != *id);
                self.claims.release_call(id);
                is_let_go
            }
            Event::CallFinished { id, outcome: EffectOutcome::Refused(_), .. } => {
                self.claims.release_call(id);
                true
            }
            Event::CallFinished { id, changes, .. } => {
                self.claim_names(id, changes);
                false
            }
            Event::AttemptFinished { of, .. } => {
                self.wanted.retain(|wanted| wanted.id.of != *of);
                let step = self.state.steps.get(&of.step);
                let keeps = step.is_some_and(|step| {
                    let is_over = matches!(step.status, StepStatus::Done | StepStatus::Leftover);
                    step.needs_undo() && !is_over
                });
                // One that has failed stands in the way of fewer.
                keeps || self.claims.release_step(&of.step)
            }
            Event::UndoEnded { step, .. } => self.claims.release_step(step),
            _ => false,
        };
        self.regrant |= released && !self.wanted.is_empty();
    }

    /// What was created has a name now, by which others may find it.
    fn claim_names(&mut self, id: &CallId, changes: &[Change]) {
        let Some(effect) = self.state.effect(id) else { return };
        let before = effect.call.areas(&effect.token);
        let mut areas = areas_of(&effect.call, &effect.token, changes);
        areas.retain(|area| !before.contains(area));
        if self.state.status == Status::Running && !areas.is_empty() {
            self.claims.claim(id, areas);
        }
    }

    /// Grant what nothing stands in the way of any more, first come first served.
    pub(super) fn grant_wanted(&mut self) -> Result<(), IllegalEvent> {
        if !std::mem::take(&mut self.regrant) || self.state.status != Status::Running {
            return Ok(());
        }
        for wanted in std::mem::take(&mut self.wanted) {
            if !self.in_the_way(&wanted.id, &wanted.areas).is_empty() {
                self.wanted.push(wanted);
                continue;
            }
            let Wanted { id, call, areas } = wanted;
            self.claims.claim(&id, areas);
            // From here on its step's time runs again.
            self.emit(Event::EffectWaits { id: id.clone(), call, behind: vec![] })?;
            self.decision.commands.push(Command::Grant { id });
        }
        Ok(())
    }
}

fn closes_a_circle(step: &StepKey, call: &Call, circle: &[StepKey]) -> Failure {
    let names: Vec<String> = circle.iter().map(|key| format!("`{key}`")).collect();
    let message = format!(
        "{} of step `{step}` changes what {} has changed, which itself waits for what `{step}` \
         changed: steps that change the same things must come one after another, so give one of \
         them the other in its `needs`",
        call.function(),
        names.join(", then "),
    );
    Failure::new(FailureClass::Precondition, message).with_code("waits-in-a-circle")
}
