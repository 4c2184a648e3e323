//! What must hold of an operation that has ended, whatever befell it.
//!
//! The journal's word is held against the world itself, which nobody had to ask a provider for.

use crate::goal::{Goal, facts_of, without_identity};
use crate::learn::{self, Learned};
use crate::place::{CaseId, Fault, Kind, Place, Planned};
use crate::script::Passed;
use crate::stage::Played;
use std::collections::{BTreeMap, BTreeSet};
use stepback_core::event::{Event, Record, Verdict};
use stepback_core::manifest::{Manifest, OnOverrun, Phase};
use stepback_core::resource::is_sealed;
use stepback_core::shown::duration;
use stepback_core::state::{Status, StepStatus};
use stepback_core::{Facts, Resource, ResourceKind, StepKey};
use stepback_simulated::world::World;

/// What is wrong with a case; nothing, if all that was said of it is true.
pub(crate) fn wrong(
    manifest: &Manifest,
    before: &World,
    learned: &Learned,
    case: &CaseId,
    played: &Played,
) -> Vec<String> {
    let judge = Judge { manifest, before, learned, case, played };
    let mut found = judge.ending();
    found.extend(judge.broken());
    found.extend(judge.twice());
    found.extend(judge.world());
    found.extend(judge.left());
    found.extend(judge.downtime());
    found.extend(judge.times());
    found
}

struct Judge<'a> {
    manifest: &'a Manifest,
    before: &'a World,
    learned: &'a Learned,
    case: &'a CaseId,
    played: &'a Played,
}

impl Judge<'_> {
    /// It has ended, and for a reason.
    fn ending(&self) -> Vec<String> {
        let state = &self.played.state;
        if let Some(why) = &self.played.failed {
            return vec![format!("it came to no end: {why}")];
        }
        if !state.status.is_final() {
            return vec![format!("its last word is {:?}, which is none", state.status)];
        }
        if state.status == Status::RollbackFailed && !self.stands_in_the_way_of_undo() {
            return vec![format!(
                "its rollback is incomplete, and nothing stood in the way of it: {}",
                self.named()
            )];
        }
        match (state.status, state.cause) {
            (Status::RolledBack | Status::RollbackFailed, None) => {
                vec!["it rolled back, and does not say why".to_owned()]
            }
            (Status::RolledBack | Status::RollbackFailed, Some(_)) if self.case.0.is_empty() => {
                let why = state.why.clone().unwrap_or_default();
                vec![format!("it rolled back, and nothing had gone wrong: {why}")]
            }
            _ => vec![],
        }
    }

    /// What was as it must never be; but not again what is so where nothing goes wrong.
    fn broken(&self) -> Vec<String> {
        let is_known = |nth: usize| self.learned.broken.contains(&nth);
        let is_quiet = self.case.0.is_empty();
        let broken = self.played.broken.iter();
        let new = broken.filter(|one| is_quiet || !one.invariant.is_some_and(is_known));
        new.map(|one| one.told.clone()).collect()
    }

    /// What the journal names as not restored.
    fn named(&self) -> String {
        let names = self.played.state.not_restored.iter();
        let names: Vec<String> =
            names.map(|one| format!("{} ({})", one.resource, one.why)).collect();
        names.join(", ")
    }

    /// Whether a fault came about that an undo may fail by however often it is tried, or after
    /// which nobody can tell how things are.
    fn stands_in_the_way_of_undo(&self) -> bool {
        let doings = learn::doings(self.played);
        let is_engines = |at: Place| doings.get(&at).is_some_and(|doing| doing.step.is_none());
        self.fired().any(|(planned, passed)| match (planned.at.kind, planned.fault) {
            (Kind::Look | Kind::Settle | Kind::Search, Fault::Refuse | Fault::Hang) => true,
            // What is beside what is touched, and was not to be seen, can't be compared.
            (Kind::Call { .. }, Fault::Refuse | Fault::Hang) if is_engines(planned.at) => true,
            // A step that is to be tried again is undone before, too.
            (Kind::Call { undo: true, .. }, Fault::RefuseAlways) => true,
            (_, Fault::RefuseAlways) => passed.is_back,
            _ => false,
        })
    }

    /// The faults that came about, with where.
    fn fired(&self) -> impl Iterator<Item = (&Planned, &Passed)> {
        let fired = self.case.0.iter().zip(&self.played.fired).filter(|(_, fired)| **fired);
        fired.filter_map(|(planned, _)| Some((planned, self.passed(planned.at)?)))
    }

    fn passed(&self, at: Place) -> Option<&Passed> {
        self.played.passed.iter().find(|passed| passed.place == at)
    }

    /// Whether what came about may keep a step past the commit point from its end: it befell that
    /// step, or nobody could tell how things are.
    fn may_leave(&self, step: &StepKey) -> bool {
        let doings = learn::doings(self.played);
        self.fired().any(|(planned, _)| match planned.at.kind {
            Kind::Look | Kind::Settle | Kind::Search => true,
            Kind::Call { .. } | Kind::Commit => {
                let doing = doings.get(&planned.at).and_then(|doing| doing.step.as_deref());
                doing == Some(step.to_string().as_str())
            }
        })
    }

    /// No effect took place twice.
    fn twice(&self) -> Vec<String> {
        let made = self.played.world.effects.values().filter(|made| made.times > 1);
        made.map(|made| format!("{} took place {} times for one call", made.function, made.times))
            .collect()
    }

    /// The world is what the last word says.
    fn world(&self) -> Vec<String> {
        let state = &self.played.state;
        match (state.status, state.verdict) {
            (Status::Succeeded, _) => self.is_the_goal(),
            (Status::Refused, _) => self.is_as_before(&BTreeSet::new(), "it was refused"),
            (Status::RolledBack, Some(Verdict::Restored)) => {
                self.is_as_before(&BTreeSet::new(), "it says that all is restored")
            }
            (Status::RolledBack | Status::RollbackFailed, _) => {
                let mut found = self.is_as_told();
                found.extend(self.was_as_told());
                if state.status == Status::RollbackFailed && state.not_restored.is_empty() {
                    found.push("its rollback is incomplete, and nothing is named".to_owned());
                }
                let named = state.not_restored.iter();
                let named = named.flat_map(|one| with_what_is_on_it(&one.resource));
                let mut named: BTreeSet<Resource> = named.collect();
                named.extend(self.gone_with_instances(&named));
                found.extend(self.is_as_before(&named, "it does not name it"));
                found
            }
            (Status::Queued | Status::Running | Status::RollingBack | Status::Abandoned, _) => {
                vec![]
            }
        }
    }

    /// What was on the instances among these that are there no more.
    fn gone_with_instances(&self, named: &BTreeSet<Resource>) -> Vec<Resource> {
        let is_gone = |one: &Resource| {
            let facts = self.played.world.facts(one);
            facts.is_absent() || facts.get("state") == Some(&"terminated".into())
        };
        let id = |one: &Resource| match one {
            Resource::Instance { id } if is_gone(one) => Some(id.clone()),
            _ => None,
        };
        let gone: BTreeSet<String> = named.iter().filter_map(id).collect();
        let before = facts_of(self.before).into_keys();
        before.filter(|one| one.host().is_some_and(|host| gone.contains(host))).collect()
    }

    /// All but these is as it was before.
    fn is_as_before(&self, but: &BTreeSet<Resource>, says: &str) -> Vec<String> {
        let (before, now) = (facts_of(self.before), facts_of(&self.played.world));
        let differing = differing(&before, &now).into_iter().filter(|one| !but.contains(one));
        let told = |one: Resource| {
            let (was, is) = (before.get(&one), now.get(&one));
            format!("{one} is {}, it was {}, and {says}", shown(is), shown(was))
        };
        differing.map(told).collect()
    }

    /// What is named as not restored is as it is told to be.
    fn is_as_told(&self) -> Vec<String> {
        let now = |resource| without_identity(&self.played.world.facts(resource));
        let named = self.played.state.not_restored.iter();
        let known = named.filter_map(|one| Some((&one.resource, one.now.as_ref()?)));
        let counted = known.filter(|(resource, _)| is_counted(resource));
        let false_ones = counted.filter_map(|(resource, told)| {
            let is = now(resource);
            let told = without_identity(told);
            // What is sealed in the journal is not sealed in the world.
            let names = told.differing(&is).into_iter();
            let differs = names.filter(|name| !is_sealed(name, told.flat_get(name))).count() > 0;
            differs.then(|| {
                let (is, told) = (is.for_readers(), told.for_readers());
                format!("{resource} is {is}, and is told to be {told}")
            })
        });
        false_ones.collect()
    }

    /// What is named as not restored was as it is told to have been.
    fn was_as_told(&self) -> Vec<String> {
        let before = facts_of(self.before);
        let named = self.played.state.not_restored.iter();
        let told = named.filter(|one| is_counted(&one.resource));
        let false_ones = told.filter_map(|one| {
            let of = by_name(&one.resource, self.before);
            // A target that its pool does not have is there all the same.
            let was = before.get(&comparable(&of)).cloned();
            let was = &was.unwrap_or_else(|| self.before.facts(&of));
            let told = without_identity(&one.before);
            let names = told.differing(was).into_iter();
            let mut names = names.filter(|name| !is_sealed(name, told.flat_get(name)));
            (!matches!(told, Facts::Unknown(_)) && names.next().is_some()).then(|| {
                let (was, told) = (was.for_readers(), told.for_readers());
                format!("{} was {was}, and is told to have been {told}", one.resource)
            })
        });
        false_ones.collect()
    }

    /// The world is as it is when nothing goes wrong.
    fn is_the_goal(&self) -> Vec<String> {
        let (goal, is) = (&self.learned.goal, Goal::of(self.played));
        let leftover = self.played.state.steps.iter();
        let leftover = leftover.filter(|(_, step)| step.status == StepStatus::Leftover);
        let steps: BTreeSet<StepKey> = leftover.map(|(key, _)| key.clone()).collect();
        // Where one of them was kept from it, those that come after it may be too.
        let mut found = vec![];
        if !steps.iter().any(|step| self.may_leave(step)) {
            found.extend(steps.iter().map(|step| {
                format!("`{step}` leaves what it was to clear away, and nothing befell it")
            }));
        }
        let left = self.learned.touched_by(&steps);
        let left: BTreeSet<Resource> = left.iter().flat_map(with_what_is_on_it).collect();
        let by_time = &self.learned.by_time;
        let of = |one: &Resource| (goal.facts.get(one), is.facts.get(one));
        let mut differing = differing(&goal.facts, &is.facts);
        let before = if differing.is_empty() { BTreeMap::new() } else { facts_of(self.before) };
        differing.retain(|one| {
            let (should, is) = of(one);
            !left.contains(one) && !by_time.excuses(one, before.get(one), should, is)
        });
        found.extend(differing.into_iter().map(|one| {
            let (should, is) = of(&one);
            format!(
                "it succeeded, and {one} is {}; where nothing goes wrong it is {}",
                shown(is),
                shown(should)
            )
        }));
        if !by_time.excuses_outputs(goal, &is) && steps.is_empty() {
            found.push(format!(
                "it succeeded, and its outputs are {}; where nothing goes wrong they are {}",
                is.outputs, goal.outputs
            ));
        }
        found
    }

    /// No lock and no lease is left, but of what waits for a person.
    fn left(&self) -> Vec<String> {
        let mut found = vec![];
        let Played { state, locks, is_run, failed, .. } = self.played;
        if state.status != Status::RollbackFailed && !locks.is_empty() {
            found.push(format!("it has ended, and holds {}", locks.join(", ")));
        }
        if *is_run && failed.is_none() {
            found.push("it has ended, and its lease is held".to_owned());
        }
        found
    }

    /// What a step of the window touched, ran before, and does not run where all was taken back.
    fn still_down(&self) -> Vec<String> {
        let in_window = |step: &&StepKey| {
            let mut all = self.manifest.steps.iter();
            all.any(|one| one.id == step.step && one.phase == Phase::Downtime)
        };
        let steps = self.played.state.steps.keys().filter(in_window).cloned().collect();
        let touched = self.learned.touched_by(&steps);
        let is_back = self.played.state.verdict.is_some();
        let stopped = self.played.stopped.iter().filter(|one| is_back && touched.contains(one));
        let of_window = stopped.filter(|one| !self.was_stopped_before_the_window(one));
        of_window.map(ToString::to_string).collect()
    }

    /// Whether the operation had stopped it by the time at which the downtime began.
    fn was_stopped_before_the_window(&self, resource: &Resource) -> bool {
        let records = self.played.records.iter();
        let before = records.take_while(|record| !matches!(record.event, Event::DowntimeStarted));
        let changes = before.filter_map(|record| match &record.event {
            Event::CallFinished { changes, .. } => Some(changes),
            _ => None,
        });
        let of_it = changes.flatten().filter(|change| change.resource == *resource);
        let last = of_it.filter_map(|change| change.after.as_ref()).last();
        let is = |after: &Facts, fact| after.get(fact) == Some(&true.into());
        last.is_some_and(|after| !is(after, "running") || is(after, "paused"))
    }

    /// The downtime is over, and no longer than it may be, where nothing kept it.
    fn downtime(&self) -> Vec<String> {
        let state = &self.played.state;
        if state.downtime.since.is_none() && state.downtime.closed_ms.is_some() {
            let still_down = self.still_down();
            if !still_down.is_empty() {
                let names = still_down.join(", ");
                return vec![format!("the downtime is told to be over, and {names} runs no more")];
            }
        }
        if state.downtime.since.is_some() {
            let is_over = matches!(
                (state.status, state.verdict),
                (Status::Succeeded, _) | (Status::RolledBack, Some(Verdict::Restored))
            );
            return match is_over {
                true => vec!["it has ended well, and the downtime goes on".to_owned()],
                false => vec![],
            };
        }
        let downtime = &self.manifest.downtime;
        let (Some(total_ms), Some(budget_ms)) = (state.downtime.total_ms(), downtime.budget_ms)
        else {
            return vec![];
        };
        let is_prompt = self.case.0.iter().all(|planned| planned.fault.is_prompt());
        // A step that is tried again waits as long as its manifest says.
        let waits = |record: &Record| matches!(record.event, Event::RetryScheduled { .. });
        let is_prompt = is_prompt && !self.played.records.iter().any(waits);
        if total_ms <= budget_ms || !is_prompt || downtime.on_overrun == OnOverrun::Warn {
            return vec![];
        }
        vec![format!(
            "the service was down for {}, with a budget of {}, and nothing kept it waiting",
            duration(total_ms),
            duration(budget_ms)
        )]
    }

    /// The journal's time does not go back; an answer has the time at which it came.
    fn times(&self) -> Vec<String> {
        let records = self.played.records.iter();
        let decided: Vec<_> =
            records.filter(|record| !matches!(record.event, Event::CallAnswered { .. })).collect();
        let back = decided.windows(2).find(|two| two[1].at < two[0].at);
        back.map(|two| format!("event {} is before event {}", two[1].seq.0, two[0].seq.0))
            .into_iter()
            .collect()
    }
}

/// Whether a resource's facts are in [`World::all_facts`].
fn is_counted(resource: &Resource) -> bool {
    match resource.kind() {
        ResourceKind::Image | ResourceKind::Containers | ResourceKind::Pool => false,
        ResourceKind::Volume
        | ResourceKind::Snapshot
        | ResourceKind::Instance
        | ResourceKind::Container
        | ResourceKind::DockerVolume
        | ResourceKind::FileSystem
        | ResourceKind::PoolTarget => !matches!(resource, Resource::Created { .. }),
    }
}

/// A container that is looked for by its id, by the name that it had.
fn by_name(resource: &Resource, before: &World) -> Resource {
    let by_id = || {
        let Resource::Container { host, name: id } = resource else { return None };
        let mut there = before.engines.get(host)?.containers.iter();
        let (name, _) = there.find(|(_, one)| one.id == *id)?;
        Some(Resource::Container { host: host.clone(), name: name.clone() })
    };
    by_id().unwrap_or_else(|| resource.clone())
}

/// The resource as [`World::all_facts`] names it.
fn comparable(resource: &Resource) -> Resource {
    match resource {
        Resource::FileSystem { volume, .. } => {
            Resource::FileSystem { host: String::new(), volume: volume.clone() }
        }
        other => other.clone(),
    }
}

/// What is named, with the file system of a volume, which comes and goes with it.
fn with_what_is_on_it(resource: &Resource) -> Vec<Resource> {
    let named = comparable(resource);
    let on_it = match &named {
        Resource::Volume { id } => {
            Some(Resource::FileSystem { host: String::new(), volume: id.clone() })
        }
        _ => None,
    };
    [named].into_iter().chain(on_it).collect()
}

fn differing(one: &BTreeMap<Resource, Facts>, other: &BTreeMap<Resource, Facts>) -> Vec<Resource> {
    let all: BTreeSet<&Resource> = one.keys().chain(other.keys()).collect();
    let differs = |resource: &&&Resource| one.get(**resource) != other.get(**resource);
    all.iter().filter(differs).map(|resource| (*resource).clone()).collect()
}

fn shown(facts: Option<&Facts>) -> String {
    facts.map_or_else(|| "not there".to_owned(), |facts| facts.for_readers().to_string())
}
