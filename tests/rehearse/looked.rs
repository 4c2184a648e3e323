//! What was held against grants goes on by which one it is: a name may be another one's by then.

use crate::built::Built;
use crate::harness::{manifest, of};
use async_trait::async_trait;
use serde_json::json;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use stepback_core::grants::{Policy, read};
use stepback_core::manifest::Uses;
use stepback_core::step::EffectOutcome;
use stepback_core::{Call, Facts, Failure, Resource};
use stepback_engine::{PluginBytes, PluginSource};
use stepback_provider::{Around, EffectContext, Provider};
use stepback_rehearse::{CaseId, Rehearsal, show};
use stepback_simulated::Simulated;

/// Where nobody may have root of a host.
struct WithoutRoot;

impl PluginSource for WithoutRoot {
    fn plugin(&self, uses: &Uses, base_dir: &Path) -> Result<PluginBytes, Option<String>> {
        Built.plugin(uses, base_dir)
    }

    fn names(&self) -> Vec<String> {
        Built.names()
    }

    fn policy(&self) -> Policy {
        let deny = read(&json!({ "docker": "root" })).expect("a grant");
        Policy { allow: None, deny: deny.into_iter().collect() }
    }
}

/// Somebody swaps two containers' names at the last moment.
struct Swaps(Arc<Simulated>);

#[async_trait]
impl Around for Swaps {
    fn inner(&self) -> &dyn Provider {
        &*self.0
    }

    async fn perform(&self, call: &Call, context: &EffectContext) -> EffectOutcome {
        swap(&self.0);
        self.0.perform(call, context).await
    }
}

fn swap(world: &Simulated) {
    let swapped = world.change(|world| {
        let containers = &mut world.engines.get_mut("i-db-1").expect("an engine").containers;
        let mut take = |name: &str| containers.remove(name).expect("it is there");
        let (main, strong) = (take("main"), take("strong"));
        containers.insert("main".to_owned(), strong);
        containers.insert("strong".to_owned(), main);
        Ok(())
    });
    swapped.expect("a world");
}

/// A step that makes one like this.
fn like(name: &str) -> String {
    format!(
        "[[steps]]\nid = \"s\"\nuses = \"docker/create-container\"\n\
         with = {{ host = \"i-db-1\", container = \"new\", ports = [\"7:7\"], \
         like = {{ host = \"i-db-1\", container = \"{name}\" }} }}\n"
    )
}

/// A container of the host's own power beside the database.
fn beside_a_strong_one(step: &str) -> Rehearsal {
    let mut rehearsal = of(&manifest(step), &[]);
    rehearsal.plugins = Arc::new(WithoutRoot);
    let engine = rehearsal.world.engines.get_mut("i-db-1").expect("an engine");
    let mut strong = engine.containers["main"].clone();
    "strong".clone_into(&mut strong.id);
    strong.spec.ports.clear();
    strong.config.insert("Privileged".to_owned(), json!(true));
    engine.containers.insert("strong".to_owned(), strong);
    rehearsal
}

#[test]
fn what_is_made_by_a_name_is_made_by_what_had_it_when_it_was_looked_at() {
    let exec = |name: &str| {
        format!(
            "[[steps]]\nid = \"s\"\nuses = \"docker/exec\"\nirreversible = \"a test\"\n\
             with = {{ host = \"i-db-1\", container = \"{name}\", command = [\"true\"] }}\n"
        )
    };
    for step in [like("main"), exec("main")] {
        let mut rehearsal = beside_a_strong_one(&step);
        show(&rehearsal, &CaseId::default()).expect("it is rehearsed");
        rehearsal.behind = Some(Arc::new(|world| Arc::new(Swaps(world))));
        let told = why_not(&rehearsal);
        assert!(told.contains("is another one than what was held against the grants"), "{told}");
    }
    // By its own name it is not to be had.
    let told = why_not(&beside_a_strong_one(&like("strong")));
    assert!(told.contains("because container `strong` is privileged"), "{told}");
}

/// Why it does not come to its end where nothing goes wrong.
fn why_not(rehearsal: &Rehearsal) -> String {
    match show(rehearsal, &CaseId::default()) {
        Ok(_) => "it does".to_owned(),
        Err(why) => format!("{why} {why:?}"),
    }
}

/// Somebody swaps the names after some of the looks.
struct SwapsAfter {
    world: Arc<Simulated>,
    looks: usize,
    seen: AtomicUsize,
}

#[async_trait]
impl Around for SwapsAfter {
    fn inner(&self) -> &dyn Provider {
        &*self.world
    }

    async fn observe(&self, resource: &Resource) -> Result<Facts, Failure> {
        let is_it = matches!(resource, Resource::Container { name, .. } if name == "main");
        if is_it && self.seen.fetch_add(1, Ordering::SeqCst) == self.looks {
            swap(&self.world);
        }
        self.world.observe(resource).await
    }
}

/// Whenever the names are swapped, what is made is like nobody who may not be a model.
#[test]
fn a_look_that_says_no_keeps_the_effect_from_being_made() {
    let step = like("main");
    let mut refused = 0;
    for looks in 0..8 {
        let mut rehearsal = beside_a_strong_one(&step);
        let last: Arc<Mutex<Option<Arc<Simulated>>>> = Arc::default();
        let kept = Arc::clone(&last);
        rehearsal.behind = Some(Arc::new(move |world| {
            *kept.lock().expect("no panic") = Some(Arc::clone(&world));
            Arc::new(SwapsAfter { world, looks, seen: AtomicUsize::new(0) })
        }));
        refused += usize::from(show(&rehearsal, &CaseId::default()).is_err());
        let world = last.lock().expect("no panic").take().expect("it was run");
        let is_strong = world.look(|world| {
            let made = world.engines["i-db-1"].containers.get("new");
            Ok(made.is_some_and(|made| made.config.contains_key("Privileged")))
        });
        assert_eq!(is_strong, Ok(false), "swapped after {looks} looks");
    }
    assert!(refused > 1, "it is refused at the start and just before: {refused}");
}
