//! The world that an operation leaves, under names that do not depend on how it got there.

use crate::stage::Played;
use serde_json::Value;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use stepback_core::calls::ClockCall;
use stepback_core::event::Event;
use stepback_core::resource::IDENTITY;
use stepback_core::step::EffectOutcome;
use stepback_core::{Call, DockerCall, Facts, Resource};
use stepback_provider::ports::{OnHost, Port};
use stepback_simulated::world::World;

/// The world of an operation that came to its end, with what it made under names that are the
/// same however often it had to try.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Goal {
    pub facts: BTreeMap<Resource, Facts>,
    pub outputs: String,
}

impl Goal {
    pub fn of(played: &Played) -> Self {
        let names = names_of_made(played);
        let text_of = |text: &str| with_names(text, &names);
        let mut facts = facts_of(&played.world);
        // What was made and taken back is told of for a while.
        let is_made = |resource: &Resource| {
            id_of(resource).is_some_and(|id| names.iter().any(|(made, _)| made == id))
        };
        facts.retain(|resource, facts| !(is_terminated(facts) && is_made(resource)));
        // It is told as left over.
        played.state.made_in_vain().for_each(|(_, resource)| drop(facts.remove(resource)));
        let ports = Ports::of(played, &facts);
        let renamed_facts = facts.into_iter().map(|(resource, facts)| {
            let (resource, facts) = ports.named(resource, facts);
            let resource = renamed(&resource, &names);
            let text = serde_json::to_string(&facts).map(|text| text_of(&text)).ok();
            let facts = text.and_then(|text| serde_json::from_str(&text).ok());
            (resource, facts.unwrap_or(Facts::Absent))
        });
        let outputs = serde_json::to_string(&played.state.outputs).unwrap_or_default();
        Self { facts: renamed_facts.collect(), outputs: text_of(&outputs) }
    }
}

/// The ports of hosts that were chosen for containers (`auto`), each with the number that stands
/// for it however often somebody had to choose: two that are made side by side may have each
/// other's.
struct Ports {
    of_containers: BTreeSet<Resource>,
    by_place: BTreeMap<(String, u16), u16>,
}

impl Ports {
    /// No port of a host that is chosen is so high.
    const FIRST: u16 = 60_000;

    fn of(played: &Played, facts: &BTreeMap<Resource, Facts>) -> Self {
        let is_chosen = |port: &String| {
            Port::parse(port).is_ok_and(|port| matches!(port.on_host, OnHost::Kept))
        };
        let made = played.records.iter().filter_map(|record| match &record.event {
            Event::CallStarted {
                call: Call::Docker(DockerCall::CreateContainer { host, container, spec }),
                ..
            } if spec.ports.iter().any(is_chosen) => {
                Some(Resource::Container { host: host.0.clone(), name: container.0.clone() })
            }
            _ => None,
        });
        let of_containers: BTreeSet<Resource> = made.collect();
        let there = of_containers.iter().flat_map(|resource| {
            let host = resource.host().unwrap_or_default();
            let ports = facts.get(resource).map(ports_of).unwrap_or_default();
            ports.into_iter().filter_map(move |port| match port.on_host {
                OnHost::One(number) => Some((host.to_owned(), number)),
                _ => None,
            })
        });
        let by_place = there.zip(Self::FIRST..).collect();
        Self { of_containers, by_place }
    }

    fn named(&self, resource: Resource, facts: Facts) -> (Resource, Facts) {
        match (resource, facts) {
            (Resource::PoolTarget { pool, host, port }, facts) => {
                let port = self.by_place.get(&(host.clone(), port)).copied().unwrap_or(port);
                (Resource::PoolTarget { pool, host, port }, facts)
            }
            (resource, Facts::Present(mut map)) if self.of_containers.contains(&resource) => {
                let host = resource.host().unwrap_or_default().to_owned();
                let mut ports = ports_of(&Facts::Present(map.clone()));
                for port in &mut ports {
                    if let OnHost::One(number) = port.on_host
                        && let Some(named) = self.by_place.get(&(host.clone(), number))
                    {
                        port.on_host = OnHost::One(*named);
                    }
                }
                let ports: Vec<String> = ports.iter().map(Port::to_string).collect();
                map.insert("ports".to_owned(), ports.into());
                (resource, Facts::Present(map))
            }
            other => other,
        }
    }
}

/// What a container publishes, in the order of the container's own ports.
fn ports_of(facts: &Facts) -> Vec<Port> {
    let all = facts.get("ports").and_then(Value::as_array).into_iter().flatten();
    let mut all: Vec<Port> =
        all.filter_map(Value::as_str).filter_map(|text| Port::parse(text).ok()).collect();
    all.sort_by_key(|port| (port.in_container, port.protocol));
    all
}

/// What of a goal is another one if the operation begins at another time, though nothing goes
/// wrong: a step worked it out from the time that it read.
#[derive(Clone, Debug, Default)]
pub(crate) struct ByTime {
    facts: BTreeMap<Resource, BTreeSet<String>>,
    outputs: BTreeSet<String>,
}

impl ByTime {
    pub fn between(goal: &Goal, later: &Goal) -> Self {
        let facts = goal.facts.iter().filter_map(|(resource, facts)| {
            let differing = facts.differing(later.facts.get(resource)?);
            Some((resource.clone(), differing.into_iter().collect()))
        });
        let (own, others) = (goal.leaves(), later.leaves());
        let differs = |name: &&String| own.get(*name) != others.get(*name);
        Self { facts: facts.collect(), outputs: own.keys().filter(differs).cloned().collect() }
    }

    /// Whether nothing of a resource differs but that, and that is there and written alike. What is
    /// as it was before nobody wrote.
    pub fn excuses(
        &self,
        resource: &Resource,
        before: Option<&Facts>,
        should: Option<&Facts>,
        is: Option<&Facts>,
    ) -> bool {
        let (Some(should), Some(is)) = (should, is) else { return false };
        let known = self.facts.get(resource);
        let was = |name: &str| before.and_then(|before| before.flat_get(name));
        should.differing(is).iter().all(|name| {
            known.is_some_and(|known| known.contains(name))
                && is_written_alike(should.flat_get(name), is.flat_get(name))
                && was(name) != is.flat_get(name)
        })
    }

    /// The same of the operation's outputs.
    pub fn excuses_outputs(&self, goal: &Goal, is: &Goal) -> bool {
        let (should, is) = (goal.leaves(), is.leaves());
        let names: BTreeSet<&String> = should.keys().chain(is.keys()).collect();
        names.into_iter().all(|name| {
            let (should, is) = (should.get(name), is.get(name));
            should == is || self.outputs.contains(name) && is_written_alike(should, is)
        })
    }
}

/// Whether two values are there, and differ in their digits alone, of which both have as many.
fn is_written_alike(one: Option<&Value>, other: Option<&Value>) -> bool {
    let shape = |value: &Value| value.to_string().replace(|c: char| c.is_ascii_digit(), "0");
    matches!((one, other), (Some(one), Some(other)) if shape(one) == shape(other))
}

impl Goal {
    /// Every value of the outputs that has no others in it, by the way there.
    fn leaves(&self) -> BTreeMap<String, Value> {
        fn add(value: Value, way: String, leaves: &mut BTreeMap<String, Value>) {
            match value {
                Value::Object(map) if !map.is_empty() => {
                    map.into_iter().for_each(|(key, value)| {
                        add(value, format!("{way}/{key}"), leaves);
                    });
                }
                Value::Array(list) if !list.is_empty() => {
                    list.into_iter().enumerate().for_each(|(nth, value)| {
                        add(value, format!("{way}/{nth}"), leaves);
                    });
                }
                leaf => {
                    leaves.insert(way, leaf);
                }
            }
        }
        let mut leaves = BTreeMap::new();
        let outputs = serde_json::from_str(&self.outputs).unwrap_or_default();
        add(outputs, String::new(), &mut leaves);
        leaves
    }
}

fn with_names(text: &str, names: &[(String, String)]) -> String {
    names.iter().fold(text.to_owned(), |text, (id, name)| text.replace(id, name))
}

/// The resource with the names of what was made.
pub(crate) fn renamed(resource: &Resource, names: &[(String, String)]) -> Resource {
    let text = serde_json::to_string(resource).map(|text| with_names(&text, names));
    let renamed = text.ok().and_then(|text| serde_json::from_str(&text).ok());
    renamed.unwrap_or_else(|| resource.clone())
}

/// What each id that the operation made is called by: the step and the place of the call in it.
///
/// What was taken back, or cleared away, is called otherwise: what stands for it in the end has its
/// name, however often it was tried.
pub(crate) fn names_of_made(played: &Played) -> Vec<(String, String)> {
    let there = facts_of(&played.world);
    let mut made: BTreeMap<String, Vec<(String, bool)>> = BTreeMap::new();
    for record in &played.records {
        let Event::CallFinished { id, changes, outcome: EffectOutcome::Done(_) } = &record.event
        else {
            continue;
        };
        let new = changes.iter().filter(|change| change.before.is_absent());
        for of in new.filter_map(|change| id_of(&change.resource)) {
            let stays = there.iter().any(|(resource, facts)| {
                id_of(resource) == Some(of) && !facts.is_absent() && !is_terminated(facts)
            });
            let name = format!("made-by-{}-{}", id.of.step, id.number.0);
            made.entry(name).or_default().push((of.to_owned(), stays));
        }
    }
    let mut names = times_read(played);
    for (name, mut all) in made {
        // Those that stay come first; of those that do not, the last was the one that counted.
        all.reverse();
        all.sort_by_key(|(_, stays)| !stays);
        for (nth, (id, _)) in all.into_iter().enumerate() {
            let name = if nth == 0 { name.clone() } else { format!("{name}-again-{nth}") };
            // A device's path has it without its dash.
            names.push((id.replace('-', ""), name.clone()));
            names.push((id, name));
        }
    }
    longest_first(names)
}

/// One may begin with another: a time in milliseconds with the seconds of an earlier one.
fn longest_first(mut names: Vec<(String, String)>) -> Vec<(String, String)> {
    names.sort_by_key(|(id, _)| Reverse(id.len()));
    names
}

/// Whether a step reads the time.
pub(crate) fn reads_the_time(played: &Played) -> bool {
    !times_read(played).is_empty()
}

/// What each time that a step read is called by, in milliseconds and in seconds: it may write it
/// somewhere, and reads another one when it waited.
fn times_read(played: &Played) -> Vec<(String, String)> {
    let read = played.records.iter().filter_map(|record| match &record.event {
        Event::CallAnswered { id, call: Call::Clock(ClockCall::Now {}), result: Ok(at) } => {
            Some((id, at.as_u64()?))
        }
        _ => None,
    });
    let names = read.flat_map(|(id, at)| {
        let name = format!("time-read-by-{}-{}", id.of.step, id.number.0);
        [(at.to_string(), name.clone()), ((at / 1000).to_string(), format!("{name}-in-seconds"))]
    });
    names.collect()
}

/// The id that a provider gives to what it makes.
fn id_of(resource: &Resource) -> Option<&str> {
    match resource {
        Resource::Volume { id } | Resource::Snapshot { id } | Resource::Instance { id } => Some(id),
        _ => None,
    }
}

/// A terminated instance is told of for a while (AWS docs, *Terminate Amazon EC2 instances*).
fn is_terminated(facts: &Facts) -> bool {
    facts.get("state") == Some(&"terminated".into())
}

/// Every resource with its facts, but for which thing it is: what was made anew is restored.
pub(crate) fn facts_of(world: &World) -> BTreeMap<Resource, Facts> {
    let all = world.all_facts().into_iter();
    all.map(|(resource, facts)| (resource, without_identity(&facts))).collect()
}

pub(crate) fn without_identity(facts: &Facts) -> Facts {
    match facts {
        Facts::Present(map) => {
            let mut map = map.clone();
            map.remove(IDENTITY);
            Facts::Present(map)
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_named_whole_whatever_it_begins_with() {
        let name = |id: &str, name: &str| (id.to_owned(), name.to_owned());
        let names = vec![
            name("1790000000000", "first"),
            name("1790000000", "first-in-seconds"),
            name("1790000000200", "second"),
        ];
        let text = "1790000000200 after 1790000000";
        assert_eq!(with_names(text, &longest_first(names)), "second after first-in-seconds");
    }
}
