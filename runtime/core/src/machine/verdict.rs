//! The verdict: what was read of the world, compared with the baselines (R8).
//!
//! No undo's word counts here. Equal facts make `restored`; a difference is excused only by an
//! irreversible effect that was declared and may have run; what could not be read is a difference,
//! but for the containers of a host that had no engine before either: they are named.

use super::left::{Odd, attached_by_others, set_by_others};
use super::*;
use crate::calls::{Class, DockerCall};
use crate::event::{FinalStatus, Kept, NotRestored, Verdict};
use crate::resource::{Facts, Resource, ResourceKind};
use crate::reverse::own_facts;
use crate::shown::in_sentence;
use crate::step::PastEffect;

impl Observation {
    /// Whether what was seen is what had these facts, whatever it is called now.
    fn is_of(&self, resource: &Resource, before: &Facts, now: &Facts) -> bool {
        let is_there =
            self.resource.kind() == resource.kind() && self.resource.host() == resource.host();
        match (before.identity(), now.identity()) {
            (Some(was), Some(is)) => is_there && was == is,
            _ => self.resource == *resource,
        }
    }
}

/// What verification read of one resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// One with a baseline or a stamp, or one that may be there and can't be looked for.
    pub resource: Resource,
    /// The error's text if it could not be read.
    pub now: Result<Reading, String>,
}

/// What was read, with what whoever knows the world says of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// As they are; on a host that is down as it was before, as they were read last.
    pub facts: Facts,
    /// What a person can do if these facts are not those of before.
    pub advice: String,
    /// Where the very thing is that had this name.
    pub renamed: Option<Renamed>,
}

/// That a thing has another name than it had.
#[derive(Clone, Debug, PartialEq)]
pub struct Renamed {
    /// By what it is found now.
    pub to: Resource,
    /// Whether this operation gave it that name, and nobody else.
    pub by_us: bool,
}

/// The order in which a person puts things back: what runs and did not is stopped before what it
/// uses is taken from it, and what ran is started when that is there again.
fn place(one: &NotRestored) -> u8 {
    match one.resource.kind() {
        // Who gets traffic again comes before who gets none any more.
        ResourceKind::Pool | ResourceKind::PoolTarget => {
            u8::from(one.before.get("enabled") != Some(&Value::Bool(true)))
        }
        ResourceKind::Container => match (runs(&one.before), one.now.as_ref().is_some_and(runs)) {
            (false, true) => 2,
            (false, false) => 3,
            (true, true) => 7,
            (true, false) => 8,
        },
        ResourceKind::Containers | ResourceKind::DockerVolume | ResourceKind::FileSystem => 4,
        ResourceKind::Instance => 5,
        ResourceKind::Volume | ResourceKind::Snapshot | ResourceKind::Image => 6,
    }
}

impl Machine {
    pub(super) fn handle_observed(
        &mut self,
        observations: Vec<Observation>,
    ) -> Result<(), IllegalEvent> {
        let mut not_restored: Vec<NotRestored> =
            observations.iter().filter_map(|observation| self.difference(observation)).collect();
        not_restored.sort_by_key(place);
        let irreversible_ran = self.irreversible_steps().next().is_some();
        let verdict = if not_restored.iter().any(|difference| !difference.declared) {
            Verdict::Incomplete
        } else if irreversible_ran || !not_restored.is_empty() {
            Verdict::RestoredExceptDeclared
        } else {
            Verdict::Restored
        };
        let (kept, not_compared) = (self.kept(), self.not_compared(&observations));
        let is_all_compared = not_compared.is_empty();
        self.emit(Event::Verified { verdict, not_restored, kept, not_compared })?;
        let status = match verdict {
            Verdict::Restored | Verdict::RestoredExceptDeclared => FinalStatus::RolledBack,
            Verdict::Incomplete => FinalStatus::RollbackFailed,
        };
        // An undo may have failed because somebody else did its work, or over something else.
        let is_back =
            is_all_compared && verdict == Verdict::Restored || self.is_service_up(&observations);
        match self.state.downtime.since.filter(|_| is_back) {
            Some(since) => {
                let downtime_ms = self.now.since_ms(since);
                self.emit(Event::DowntimeEnded { downtime_ms })?;
            }
            // The undo of another step took it down behind the window's, and did not bring it back.
            None if self.state.downtime.total_ms().is_some()
                && !is_back
                && self.is_service_seen(&observations) =>
            {
                self.emit(Event::DowntimeStarted)?;
            }
            None => {}
        }
        let (outputs, unknown_outputs) = (BTreeMap::new(), BTreeMap::new());
        self.emit(Event::Finished { status, outputs, unknown_outputs })
    }

    /// Whether everything runs that ran before and that a step of the window touched, whatever it
    /// is called by now, and every volume that such a step touched is where it was.
    fn is_service_up(&self, observations: &[Observation]) -> bool {
        let runs_now = |resource: &Resource, before: &Facts| {
            observations.iter().any(|one| {
                one.now
                    .as_ref()
                    .is_ok_and(|now| one.is_of(resource, before, &now.facts) && runs(&now.facts))
            })
        };
        let is_where_it_was = |resource: &Resource, before: &Facts| {
            let now = observations.iter().find(|one| one.resource == *resource);
            let now = now.and_then(|one| one.now.as_ref().ok());
            now.is_some_and(|now| {
                !before.differing(&now.facts).iter().any(|name| is_attachment(name))
            })
        };
        let mut volumes = self.touched_by_window(&[ResourceKind::Volume]);
        self.services_of_window().all(|(resource, before)| runs_now(resource, before))
            && volumes.all(|(resource, before)| is_where_it_was(resource, before))
    }

    /// Whether somebody could look at all that ran before and that a step of the window touched.
    fn is_service_seen(&self, observations: &[Observation]) -> bool {
        let is_seen = |resource: &Resource| {
            observations.iter().any(|one| one.resource == *resource && one.now.is_ok())
        };
        let mut volumes = self.touched_by_window(&[ResourceKind::Volume]);
        self.services_of_window().all(|(resource, _)| is_seen(resource))
            && volumes.all(|(resource, _)| is_seen(resource))
    }

    /// What ran before the operation, or may have, and what a step of the window touched, whatever
    /// it was called by then.
    pub(super) fn services_of_window(&self) -> impl Iterator<Item = (&Resource, &Facts)> {
        let touched = self.touched_by_window(&[ResourceKind::Container, ResourceKind::Instance]);
        touched.filter(|(_, before)| may_run(before))
    }

    /// What was of these kinds before, and a step of the window touched.
    fn touched_by_window(
        &self,
        kinds: &'static [ResourceKind],
    ) -> impl Iterator<Item = (&Resource, &Facts)> {
        let in_window = self.state.steps.iter().filter(|(key, _)| self.plan.is_window(&key.step));
        let effects = in_window.flat_map(|(_, step)| &step.effects);
        let touched: Vec<&Change> = effects.flat_map(|effect| &effect.changes).collect();
        self.state.baselines.iter().filter(move |(resource, before)| {
            kinds.contains(&resource.kind())
                && touched.iter().any(|change| change.is_of(resource, before))
        })
    }

    /// The containers of hosts that had no engine, and have none: nobody can say that none runs.
    fn not_compared(&self, observations: &[Observation]) -> Vec<Resource> {
        let is_one = |one: &&Observation| {
            one.resource.kind() == ResourceKind::Containers
                && one.now.as_ref().is_ok_and(|now| now.facts.is_absent())
        };
        observations.iter().filter(is_one).map(|one| one.resource.clone()).collect()
    }

    fn difference(&self, observation: &Observation) -> Option<NotRestored> {
        let resource = &observation.resource;
        let before = self.state.baselines.of_thing(resource).cloned().unwrap_or(Facts::Absent);
        let (now, mut why) = match &observation.now {
            _ if let Facts::Unknown(why) = &before => {
                (None, format!("it can't be compared, because it could not be read before: {why}"))
            }
            Ok(_) if self.is_harmless(resource, &before) => return None,
            Ok(now) if now.facts.is_as(&before) => match before.not_comparable(&now.facts) {
                none if none.is_empty() => return None,
                names => return Some(self.not_comparable(resource, before, now, &names)),
            },
            Ok(now) => match &now.renamed {
                Some(Renamed { to, by_us }) => {
                    let who = if *by_us { "this operation" } else { "somebody" };
                    (Some(now), format!("{who} has renamed it: it is {to}"))
                }
                None => (Some(now), describe_difference(&before, &now.facts)),
            },
            Err(error) => (None, format!("it could not be read: {error}")),
        };
        let undo_error = self.undo_error_of(resource);
        if let Some(undo) = &undo_error {
            why = format!("{why}; {undo}");
        }
        let hint = self.hint(resource, &before, now);
        let is_renamed = now.is_some_and(|now| now.renamed.is_some());
        let now = now.map(|now| now.facts.clone());
        // What somebody else set beside it, or in its place, nobody declared.
        let is_declared = |now: &Facts| {
            before.not_comparable(now).is_empty()
                && self.is_declared(resource, &before, now)
                && set_by_others(&self.state, resource, &before, now).is_none()
        };
        // What an undo was to put back, and did not, nobody declared.
        let declared = undo_error.is_none() && !is_renamed && now.as_ref().is_some_and(is_declared);
        Some(NotRestored { resource: resource.clone(), before, now, why, hint, declared })
    }

    /// What is as it was, but for what nobody can compare: the undo went on, and the last word is
    /// a person's.
    fn not_comparable(
        &self,
        resource: &Resource,
        before: Facts,
        now: &Reading,
        names: &[String],
    ) -> NotRestored {
        let operation = self.operation;
        NotRestored {
            resource: resource.clone(),
            before,
            now: Some(now.facts.clone()),
            why: format!(
                "it can't be compared in {}, because the key that this was sealed by is gone",
                names.join(", ")
            ),
            hint: format!(
                "look at it yourself, or bring that key back (`secrets.key` in the state \
                 directory, or what `secrets_key` names) and run `stepback rollback {operation}`; \
                 then `stepback rollback {operation} --accept REASON`"
            ),
            declared: false,
        }
    }

    /// What a person is told to do: what the provider says, but where somebody else's doing would
    /// be undone by it, or nothing could be compared.
    fn hint(&self, resource: &Resource, before: &Facts, now: Option<&Reading>) -> String {
        let operation = self.operation;
        let is_made_here = |now: &Facts| match (before.is_absent(), now.is_absent()) {
            (_, true) => true,
            // What no effect named was found by the mark that one of them gave it.
            (true, false) => {
                self.state.baselines.of(resource).is_none()
                    || self.state.is_own(resource, now)
                    || self.was_here_by_another_name(resource, now)
            }
            // Its name may be another one's by now.
            (false, false) => {
                !before.is_another(now)
                    || self.state.is_own(resource, now)
                    || self.was_here_by_another_name(resource, now)
            }
        };
        match now {
            Some(Reading { facts: Facts::Unknown(_), .. }) => format!(
                "mend what keeps it from being read, then run `stepback rollback {operation}`"
            ),
            Some(Reading { renamed: Some(_), advice, .. }) => in_sentence(advice).into_owned(),
            Some(Reading { facts, .. }) if !is_made_here(facts) => format!(
                "it is not this operation's: leave it to whoever made it; then `stepback rollback \
                 {operation} --accept REASON`"
            ),
            Some(Reading { facts, .. })
                if let Some(instance) =
                    attached_by_others(&self.state, resource, before, facts) =>
            {
                format!(
                    "somebody else has attached it to {instance}: ask them; then `stepback \
                     rollback {operation}` once it is free, or `stepback rollback {operation} \
                     --accept REASON`"
                )
            }
            Some(Reading { facts, .. })
                if (!before.is_another(facts) || self.state.is_own(resource, facts))
                    && let Some(Odd { others, ours }) =
                        set_by_others(&self.state, resource, before, facts) =>
            {
                let by_itself = match others.as_str() {
                    "running" | "state" => "it may have ended by itself, or ",
                    _ => "",
                };
                let (others, ours) = (in_sentence(&others), in_sentence(&ours));
                let too = match ours.is_empty() {
                    true => String::new(),
                    false => format!("{ours} is, and is to be put back by you, too; "),
                };
                format!(
                    "{others} is not as this operation left it: {by_itself}ask whoever changed it; \
                     {too}\
                     then `stepback rollback {operation}` once it is as it was, or `stepback \
                     rollback {operation} --accept REASON`"
                )
            }
            Some(now) => in_sentence(&now.advice).into_owned(),
            None if matches!(before, Facts::Unknown(_)) => {
                format!("look at it yourself; then `stepback rollback {operation} --accept REASON`")
            }
            None => format!(
                "mend what keeps it from being read, then run `stepback rollback {operation}`"
            ),
        }
    }

    /// Whether this is a container that the operation found under another name.
    fn was_here_by_another_name(&self, resource: &Resource, now: &Facts) -> bool {
        let on_host = self.state.baselines.iter().filter(|(one, _)| {
            one.kind() == ResourceKind::Container && one.host() == resource.host()
        });
        now.identity().is_some()
            && on_host.into_iter().any(|(_, before)| before.identity() == now.identity())
    }

    /// An image in a host's cache changes nothing (R8), but what a name was made to mean does.
    fn is_harmless(&self, resource: &Resource, before: &Facts) -> bool {
        let is_tagged = || {
            let effects = self.state.steps.values().flat_map(|step| &step.effects);
            effects
                .filter(|effect| matches!(effect.call, Call::Docker(DockerCall::TagImage { .. })))
                .any(|effect| effect.changes.iter().any(|change| change.resource == *resource))
        };
        resource.kind() == ResourceKind::Image && before.is_absent() && !is_tagged()
    }

    /// What the last step that touched the resource said when its undo failed.
    fn undo_error_of(&self, resource: &Resource) -> Option<String> {
        let touching = self.state.steps.iter().filter(|(_, step)| {
            step.undo_error.is_some() && step.touched().any(|touched| touched == resource)
        });
        let (key, step) = touching.max_by_key(|(_, step)| step.order)?;
        step.undo_error.as_ref().map(|error| format!("undoing `{key}`: {error}"))
    }

    fn irreversible_steps(&self) -> impl Iterator<Item = (&StepKey, &PastEffect)> {
        self.state.steps.iter().flat_map(|(key, step)| {
            step.effects
                .iter()
                .filter(|effect| effect.id.of.direction == Direction::Do)
                .filter(|effect| !matches!(effect.outcome, EffectOutcome::Refused(_)))
                .filter(|effect| self.state.was_irreversible(effect))
                .map(move |effect| (key, effect))
        })
    }

    /// Whether declared irreversible effects explain every fact that differs: each is as one of
    /// them left it. What came to differ beside them, or after them, they do not excuse.
    fn is_declared(&self, resource: &Resource, before: &Facts, now: &Facts) -> bool {
        let mut left = before.differing(now);
        for (key, effect) in self.irreversible_steps() {
            let declared =
                self.plan.step(&key.step).is_some_and(|step| step.irreversible.is_some());
            // What a command did inside a container is none of its facts, so it excuses none; and a
            // container that was started is stopped again, whatever it did.
            let is_start = effect.call.class() != Class::Irreversible;
            if !declared || is_start || effect.call.areas(&effect.token).is_empty() {
                continue;
            }
            if now.is_absent() && effect.changes.iter().any(|one| one.ends_host_of(resource)) {
                left.retain(|name| name != "exists");
            }
            // What was on it is attached to nothing; who took it off before can't put it back.
            if is_on_nothing(now) && effect.changes.iter().any(|one| was_on(before, one)) {
                left.retain(|name| !is_attachment(name));
            }
            let its = effect.changes.iter().enumerate();
            for (place, change) in its.filter(|(_, change)| change.is_of(resource, before)) {
                left.retain(|name| !self.may_have_done(effect, place, change, now, name));
            }
        }
        left.is_empty()
    }

    /// Whether an effect may have made this fact differ by this change.
    fn may_have_done(
        &self,
        effect: &PastEffect,
        place: usize,
        change: &Change,
        now: &Facts,
        name: &String,
    ) -> bool {
        // Beside what it is about, it takes volumes off, and what runs with it.
        let is_main = place == 0;
        let own = own_facts(effect, &change.resource).filter(|_| is_main);
        let may_change = match change.resource.kind() {
            _ if name == "exists" => true,
            ResourceKind::Volume if !is_main => is_attachment(name),
            _ => own.is_none_or(|own| own.contains(name)),
        };
        may_change
            && match &change.after {
                Some(after) => {
                    change.before.differing(after).contains(name)
                        && after.is_absent() == now.is_absent()
                        && after.flat_get(name) == now.flat_get(name)
                }
                // Nobody saw what it did, so it may have done all that it can do, as long as
                // nothing else was done to the same since.
                None => self.effects_since(effect, change) == 0,
            }
    }

    fn effects_since(&self, effect: &PastEffect, change: &Change) -> usize {
        self.state.effects_after(effect, &change.resource).count()
    }

    fn kept(&self) -> Vec<Kept> {
        let kept = self.state.steps.iter().filter_map(|(key, step)| {
            let reason = step.kept.clone()?;
            Some(Kept { step: key.clone(), reason })
        });
        kept.collect()
    }
}

/// Whether these are the facts of a container or an instance that runs: what is frozen answers
/// nobody.
fn runs(facts: &Facts) -> bool {
    let is_up =
        facts.get("running") == Some(&true.into()) || facts.get("state") == Some(&"running".into());
    is_up && facts.get("paused") != Some(&true.into())
}

/// Whether it runs, or may: nobody could look.
fn may_run(facts: &Facts) -> bool {
    matches!(facts, Facts::Unknown(_)) || runs(facts)
}

fn is_attachment(name: &str) -> bool {
    name.split(['.', '[']).next() == Some("attachments")
}

/// Whether a volume was attached to the instance alone that is gone by this change.
fn was_on(before: &Facts, change: &Change) -> bool {
    let is_gone = |one: &Value| {
        let instance = one.get("instance").and_then(Value::as_str);
        instance.is_some_and(|instance| change.ends_instance(instance))
    };
    attachments(before).is_some_and(|all| !all.is_empty() && all.iter().all(is_gone))
}

fn is_on_nothing(now: &Facts) -> bool {
    attachments(now).is_some_and(|all| all.is_empty())
}

fn attachments(of: &Facts) -> Option<&Vec<Value>> {
    of.get("attachments").and_then(Value::as_array)
}

fn describe_difference(before: &Facts, now: &Facts) -> String {
    match (before, now) {
        (Facts::Absent, Facts::Present(_)) => "it was not there before".into(),
        (Facts::Present(_), Facts::Absent) => "it is gone".into(),
        (Facts::Absent, Facts::Absent) => "nothing differs".into(),
        (Facts::Unknown(why), _) | (_, Facts::Unknown(why)) => format!("not known: {why}"),
        (Facts::Present(_), Facts::Present(_)) => {
            format!("it is not as it was: {}", before.differing(now).join(", "))
        }
    }
}
