//! The documents' IAM policies are what the shipped operations ask of EC2, and no more.
//!
//! `STEPBACK_BLESS=1` writes them anew.

use crate::harness::{Place, SHIPPED, root};
use std::collections::BTreeSet;
use stepback_aws::{IAM_ALWAYS, iam_actions};
use stepback_clock::Clock;
use stepback_core::OperationId;
use stepback_core::event::Event;
use stepback_core::reverse::{Reversal, Seen, reverse};
use stepback_core::state::State;
use stepback_core::step::Change;
use stepback_journal::{Sqlite, Store};

const BEGIN: &str = "<!-- policies: begin -->\n";
const END: &str = "<!-- policies: end -->";

/// Every function that an operation calls, and those that take its effects back.
async fn functions(name: &str) -> BTreeSet<&'static str> {
    let place = Place::new();
    place.run_shipped(name, &[]).exits(0);
    let store = Sqlite::open(&place.path("state"), Clock::real()).expect("a store");
    let records = store.load(OperationId(1)).await.expect("its journal");
    let mut functions = BTreeSet::new();
    for record in &records {
        if let Event::CallAnswered { call, .. } = &record.event {
            functions.insert(call.function());
        }
    }
    let state = State::fold(&records).expect("it folds");
    for effect in state.steps.values().flat_map(|step| &step.effects) {
        functions.insert(effect.call.function());
        let after = |change: &Change| Seen {
            resource: change.resource.clone(),
            facts: change.after.clone().expect("it was read"),
            is_stamped: Some(true),
        };
        let now: Vec<Seen> = effect.changes.iter().map(after).collect();
        if let Reversal::Calls(calls) = reverse(effect, &now) {
            functions.extend(calls.iter().map(stepback_core::Call::function));
        }
    }
    functions
}

async fn policies() -> String {
    let mut text = format!("{BEGIN}| operation | actions |\n| --- | --- |\n");
    for name in SHIPPED {
        let mut actions: BTreeSet<&str> = IAM_ALWAYS.into();
        for function in functions(name).await {
            actions.extend(iam_actions(function));
        }
        let actions: Vec<String> = actions.iter().map(|action| format!("`{action}`")).collect();
        text.push_str(&format!("| `{name}` | {} |\n", actions.join(", ")));
    }
    text.push_str(END);
    text
}

#[tokio::test]
async fn the_readme_tells_the_least_policy_of_each_operation() {
    let path = root().join("docs/environments.md");
    let readme = std::fs::read_to_string(&path).expect("the document");
    let (begin, end) = (readme.find(BEGIN).expect("a mark"), readme.find(END).expect("a mark"));
    let wanted = policies().await;
    if std::env::var_os("STEPBACK_BLESS").is_some() {
        let blessed = format!("{}{wanted}{}", &readme[..begin], &readme[end + END.len()..]);
        std::fs::write(&path, blessed).expect("the document");
        return;
    }
    let found = &readme[begin..end + END.len()];
    assert_eq!(found, wanted, "run it with STEPBACK_BLESS=1");
}
