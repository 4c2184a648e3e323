//! The world that an operation leaves, under names that do not depend on how it got there.

use crate::stage::Played;
use std::collections::BTreeMap;
use stepback_core::event::Event;
use stepback_core::resource::IDENTITY;
use stepback_core::{Facts, Resource};
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
        let renamed = |text: &str| {
            names.iter().fold(text.to_owned(), |text, (id, name)| text.replace(id, name))
        };
        let facts = facts_of(&played.world);
        let renamed_facts = facts.into_iter().map(|(resource, facts)| {
            let parse = |text: String| serde_json::from_str(&text).ok();
            let resource = serde_json::to_string(&resource).map(|text| renamed(&text)).ok();
            let text = serde_json::to_string(&facts).map(|text| renamed(&text)).ok();
            let facts = text.and_then(|text| serde_json::from_str(&text).ok());
            (resource.and_then(parse), facts.unwrap_or(Facts::Absent))
        });
        let facts = renamed_facts.filter_map(|(resource, facts)| Some((resource?, facts)));
        let outputs = serde_json::to_string(&played.state.outputs).unwrap_or_default();
        Self { facts: facts.collect(), outputs: renamed(&outputs) }
    }
}

/// What each id that the operation made is called by: the step and the place of the call in it.
fn names_of_made(played: &Played) -> Vec<(String, String)> {
    let world = &played.world;
    let mut names = vec![];
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for record in &played.records {
        let Event::CallStarted { id, token, .. } = &record.event else { continue };
        let stamp = Some(&token.0);
        let of = |stamps: Vec<(&String, &Option<String>)>| -> Vec<String> {
            let made = stamps.into_iter().filter(|(_, one)| one.as_ref() == stamp);
            made.map(|(id, _)| id.clone()).collect()
        };
        let mut ids = of(world.volumes.iter().map(|(id, one)| (id, &one.stamp)).collect());
        ids.extend(of(world.snapshots.iter().map(|(id, one)| (id, &one.stamp)).collect()));
        ids.extend(of(world.instances.iter().map(|(id, one)| (id, &one.stamp)).collect()));
        for made in ids {
            let name = format!("made-by-{}-{}", id.of.step, id.number.0);
            // What an attempt left that was to be taken back is one more of its name.
            let before = counts.entry(name.clone()).and_modify(|n| *n += 1).or_insert(0);
            let name = if *before == 0 { name } else { format!("{name}-again-{before}") };
            // A device's path has it without its dash.
            names.push((made.replace('-', ""), name.clone()));
            names.push((made, name));
        }
    }
    names
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
