//! The step in a scripted world: no WebAssembly, no provider.

use super::*;
use serde_json::json;
use stepback_sdk::effects::Reversal;
use stepback_sdk::testing::{World, input};
use stepback_sdk::{FailureClass, PastEffect, failure};

fn with() -> Input {
    input::<LabelVolume>(json!({ "volume": "vol-1", "label": "blue" }))
}

#[test]
fn a_volume_that_is_not_there_is_told_before_anything_runs() {
    World::reset();
    World::fail("ebs.describe", failure(FailureClass::Precondition, "there is no vol-1"));
    let failed = LabelVolume::check(&with()).expect_err("it looked for the volume");
    assert_eq!(failed.message, "there is no vol-1");
}

#[test]
fn the_volume_gets_its_label() {
    World::reset();
    World::answer("ebs.tag", ());
    LabelVolume::run(with()).expect("the tag is taken");
    let calls = World::calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].function, "ebs.tag");
    assert_eq!(calls[0].arguments, json!({ "volume": "vol-1", "key": "label", "value": "blue" }));
}

#[test]
fn the_label_is_taken_back() {
    World::reset();
    World::answer("effects.reverse", Reversal::Reversed);
    let tagged = PastEffect {
        id: "1".to_owned(),
        function: "ebs.tag".to_owned(),
        arguments: String::new(),
        outcome: String::new(),
        changes: vec![],
    };
    let past = Past { finished: true, output: None, effects: vec![tagged] };
    assert_eq!(LabelVolume::undo(&with(), &past), Ok(Undo::Undone));
    assert_eq!(World::functions(), ["effects.reverse"]);
}
