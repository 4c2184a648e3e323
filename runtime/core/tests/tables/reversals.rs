//! Tables of effects and what takes them back.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use stepback_core::reverse::{Reversal, Seen, reverse, reverse_again};
use stepback_core::step::{Change, EffectOutcome, PastEffect};
use stepback_core::*;

fn facts(value: Value) -> Facts {
    Facts::from_json(value)
}

fn effect(call: Call, resource: Resource, before: Facts, after: Option<Facts>) -> PastEffect {
    let step = StepKey::plain("s");
    let of = AttemptId { step, direction: Direction::Do, attempt: Attempt(1) };
    PastEffect {
        id: CallId { of, number: CallNumber(1) },
        call,
        token: "t".into(),
        outcome: EffectOutcome::Done(Value::Null),
        changes: vec![Change { resource, before, after }],
    }
}

fn seen(resource: Resource, facts: Facts) -> Seen {
    Seen { resource, facts, is_stamped: None }
}

fn volume() -> Resource {
    Resource::Volume { id: "vol-1".into() }
}

fn attached(instance: &str) -> Facts {
    facts(json!({ "attachments": [{ "instance": instance, "device": "/dev/sdf" }], "tags": {} }))
}

fn free() -> Facts {
    facts(json!({ "attachments": [], "tags": {} }))
}

#[test]
fn an_effect_is_reversed_to_what_it_found_and_never_over_somebody_elses_change() {
    let attach = Call::Ebs(EbsCall::Attach {
        volume: "vol-1".into(),
        instance: "i-2".into(),
        device: "/dev/sdf".into(),
    });
    let attach = effect(attach, volume(), free(), Some(attached("i-2")));
    let back = Call::Ebs(EbsCall::Detach { volume: "vol-1".into(), instance: "i-2".into() });
    let now = |facts: Facts| vec![seen(volume(), facts)];
    assert_eq!(reverse(&attach, &now(attached("i-2"))), Reversal::Calls(vec![back]));
    assert_eq!(reverse(&attach, &now(free())), Reversal::NothingToDo);
    assert!(matches!(reverse(&attach, &now(attached("i-9"))), Reversal::Cannot(_)));
    assert!(matches!(reverse(&attach, &now(Facts::Absent)), Reversal::Cannot(_)));
    assert!(matches!(reverse(&attach, &[]), Reversal::Cannot(_)));

    // What others did to other facts of the volume stays, and does not stand in the way.
    let mut tagged = attached("i-2");
    if let Facts::Present(map) = &mut tagged {
        map.insert("tags".into(), json!({ "owner": "ann" }));
    }
    assert!(matches!(reverse(&attach, &now(tagged)), Reversal::Calls(_)));

    let detach = Call::Ebs(EbsCall::Detach { volume: "vol-1".into(), instance: "i-1".into() });
    let detach = effect(detach, volume(), attached("i-1"), Some(free()));
    let again = Call::Ebs(EbsCall::Attach {
        volume: "vol-1".into(),
        instance: "i-1".into(),
        device: "/dev/sdf".into(),
    });
    assert_eq!(reverse(&detach, &now(free())), Reversal::Calls(vec![again]));
}

/// What was seen after an effect is not all its doing: the look may come late, or too early.
#[test]
fn a_call_that_tells_what_it_leaves_is_held_to_that() {
    let owner = |owner: &str| facts(json!({ "tags": { "owner": owner } }));
    let none = || facts(json!({ "tags": {} }));
    let tag = Call::Ebs(EbsCall::Tag {
        volume: "vol-1".into(),
        key: "owner".into(),
        value: "ours".into(),
    });
    let now = |facts: Facts| vec![seen(volume(), facts)];

    let late = effect(tag.clone(), volume(), none(), Some(owner("theirs")));
    assert!(matches!(reverse(&late, &now(owner("theirs"))), Reversal::Cannot(_)));
    assert!(matches!(reverse(&late, &now(owner("ours"))), Reversal::Calls(_)));
    assert_eq!(reverse(&late, &now(none())), Reversal::NothingToDo);

    let early = effect(tag, volume(), owner("before"), Some(owner("before")));
    assert_eq!(reverse(&early, &now(owner("before"))), Reversal::NothingToDo);
    assert!(matches!(reverse(&early, &now(owner("theirs"))), Reversal::Cannot(_)));
    assert!(matches!(reverse(&early, &now(owner("ours"))), Reversal::Calls(_)));
}

/// Somebody else may take a name between an effect and the look after it.
#[test]
fn what_took_a_name_before_anybody_looked_is_left_alone() {
    let data = Resource::DockerVolume { host: "i-1".into(), name: "data".into() };
    let call = Call::Docker(DockerCall::CreateVolume {
        host: "i-1".into(),
        volume: "data".into(),
        options: BTreeMap::new(),
    });
    let theirs = facts(json!({ "id": "theirs", "driver": "local" }));
    let made = effect(call, data.clone(), Facts::Absent, Some(theirs.clone()));
    let now = |is_stamped| {
        vec![Seen { resource: data.clone(), facts: theirs.clone(), is_stamped: Some(is_stamped) }]
    };
    assert!(matches!(reverse(&made, &now(false)), Reversal::Cannot(_)));
    assert!(matches!(reverse(&made, &now(true)), Reversal::Calls(_)));

    let main = Resource::Container { host: "i-1".into(), name: "main".into() };
    let stop = Call::Docker(DockerCall::StopContainer {
        host: "i-1".into(),
        container: "main".into(),
        grace_ms: 1_000,
    });
    let of = |id: &str, running| facts(json!({ "id": id, "running": running }));
    let stopped = effect(stop, main.clone(), of("ours", true), Some(of("theirs", false)));
    let theirs = [seen(main.clone(), of("theirs", false))];
    assert!(matches!(reverse(&stopped, &theirs), Reversal::Cannot(_)));
    assert!(matches!(reverse(&stopped, &[seen(main, of("ours", false))]), Reversal::Calls(_)));
}

/// Whoever undoes a rename may have only what was there before it.
#[test]
fn a_rename_that_nobody_saw_the_end_of_is_undone() {
    let named = |name: &str| Resource::Container { host: "i-1".into(), name: name.into() };
    let of = |id: &str| facts(json!({ "id": id, "running": true }));
    let call = Call::Docker(DockerCall::RenameContainer {
        host: "i-1".into(),
        container: "main".into(),
        to: "old".into(),
    });
    let back = Call::Docker(DockerCall::RenameContainer {
        host: "i-1".into(),
        container: "old".into(),
        to: "main".into(),
    });
    let mut renamed = effect(call, named("main"), of("ours"), None);
    let to = Change { resource: named("old"), before: Facts::Absent, after: None };
    renamed.changes.push(to);
    for is_seen in [false, true] {
        if is_seen {
            renamed.changes[0].after = Some(Facts::Absent);
            renamed.changes[1].after = Some(of("ours"));
        }
        let now =
            |main, old| reverse(&renamed, &[seen(named("main"), main), seen(named("old"), old)]);
        assert_eq!(now(Facts::Absent, of("ours")), Reversal::Calls(vec![back.clone()]));
        assert_eq!(now(of("ours"), Facts::Absent), Reversal::NothingToDo);
        assert!(matches!(now(Facts::Absent, Facts::Absent), Reversal::Cannot(_)), "it is gone");
        assert!(matches!(now(Facts::Absent, of("theirs")), Reversal::Cannot(_)));
        assert!(matches!(now(of("theirs"), of("ours")), Reversal::Cannot(_)));
    }
}

/// Undos of other steps may need the engine next, whatever there is to do on it.
#[test]
fn undoing_a_stop_waits_for_the_engine() {
    let instance = Resource::Instance { id: "i-1".into() };
    let state = |state: &str| facts(json!({ "state": state }));
    let stop = Call::Ec2(Ec2Call::Stop { instance: "i-1".into() });
    let mut stopped = effect(stop, instance.clone(), state("running"), Some(state("stopped")));
    let start = Call::Ec2(Ec2Call::Start { instance: "i-1".into() });
    let down = [seen(instance.clone(), state("stopped"))];
    assert_eq!(reverse(&stopped, &down), Reversal::Calls(vec![start.clone()]), "no engine");

    let main = Resource::Container { host: "i-1".into(), name: "main".into() };
    let before = facts(json!({ "id": "c-1", "running": false, "restart": "no" }));
    stopped.changes.push(Change { resource: main, before, after: None });
    let wait = Call::Docker(DockerCall::WaitEngine { host: "i-1".into(), timeout_ms: 300_000 });
    assert_eq!(reverse(&stopped, &down), Reversal::Calls(vec![start, wait]));
    let up = [seen(instance, state("running"))];
    assert_eq!(reverse(&stopped, &up), Reversal::NothingToDo, "it was not stopped");
}

/// It may still be on its way, whatever is seen now.
#[test]
fn a_stop_of_which_nobody_knows_is_made_sure_of() {
    let container = Resource::Container { host: "i-1".into(), name: "db".into() };
    let (host, name) = (InstanceId::from("i-1"), ContainerName::from("db"));
    let stop = Call::Docker(DockerCall::StopContainer {
        host: host.clone(),
        container: name.clone(),
        grace_ms: 60_000,
    });
    let start = Call::Docker(DockerCall::StartContainer { host, container: name });
    let runs = |is: bool| facts(json!({ "id": "c", "running": is }));
    let mut lost = effect(stop.clone(), container.clone(), runs(true), Some(runs(true)));
    lost.outcome = EffectOutcome::Unknown("no answer".into());
    let now = |is: bool| [seen(container.clone(), runs(is))];
    assert_eq!(reverse(&lost, &now(true)), Reversal::Calls(vec![stop, start.clone()]));
    lost.changes[0].after = None;
    assert_eq!(reverse(&lost, &now(false)), Reversal::Calls(vec![start]));
    // One that was refused never was, and one that did not run was not stopped.
    lost.outcome = EffectOutcome::Refused(Failure::new(FailureClass::Refused, "no"));
    assert_eq!(reverse(&lost, &now(true)), Reversal::NothingToDo);
    lost.outcome = EffectOutcome::Unknown("no answer".into());
    lost.changes[0].before = runs(false);
    assert_eq!(reverse(&lost, &now(false)), Reversal::NothingToDo);
}

/// An engine lets it go on, and then ends it.
#[test]
fn what_was_frozen_when_it_was_stopped_is_started_and_frozen() {
    let container = Resource::Container { host: "i-1".into(), name: "db".into() };
    let (host, name) = (InstanceId::from("i-1"), ContainerName::from("db"));
    let stop = Call::Docker(DockerCall::StopContainer {
        host: host.clone(),
        container: name.clone(),
        grace_ms: 60_000,
    });
    let start =
        Call::Docker(DockerCall::StartContainer { host: host.clone(), container: name.clone() });
    let pause = Call::Docker(DockerCall::PauseContainer { host, container: name });
    let is = |running: bool, paused: bool| {
        facts(json!({ "id": "c", "running": running, "paused": paused }))
    };
    let now = [seen(container.clone(), is(false, false))];
    let mut stopped =
        effect(stop.clone(), container.clone(), is(true, true), Some(is(false, false)));
    assert_eq!(reverse(&stopped, &now), Reversal::Calls(vec![start.clone(), pause.clone()]));
    stopped.outcome = EffectOutcome::Unknown("no answer".into());
    let lost = [seen(container.clone(), is(true, true))];
    stopped.changes[0].after = None;
    assert_eq!(reverse(&stopped, &lost), Reversal::Calls(vec![stop, start, pause]));
}

#[test]
fn what_never_happened_or_has_no_inverse_is_told_apart() {
    let call = Call::Ebs(EbsCall::DeleteVolume { volume: "vol-1".into() });
    let mut deleted = effect(call, volume(), free(), Some(Facts::Absent));
    let now = [seen(volume(), Facts::Absent)];
    assert!(matches!(reverse(&deleted, &now), Reversal::Cannot(_)));
    deleted.outcome =
        EffectOutcome::Refused(Failure::new(FailureClass::Refused, "VolumeInUse: it is attached"));
    assert_eq!(reverse(&deleted, &now), Reversal::NothingToDo);

    let pull = Call::Docker(DockerCall::PullImage { host: "i-1".into(), image: "a:1".into() });
    let image = Resource::Image { host: "i-1".into(), image: "a:1".into() };
    let there = facts(json!({ "digest": "sha256:1" }));
    let pull = effect(pull, image.clone(), Facts::Absent, Some(there.clone()));
    assert!(matches!(reverse(&pull, &[seen(image, there)]), Reversal::Kept(_)));
}

/// An operation that an older Stepback began is verified by what that one looked at.
#[test]
fn a_fact_that_nobody_looked_at_before_is_no_difference() {
    let before = facts(json!({ "size_gib": 4, "tags": { "a": "1" } }));
    let same = json!({ "size_gib": 4, "tags": { "a": "1" }, "iops": 3000, "encrypted": false });
    assert!(facts(same).is_as(&before));
    let grown = facts(json!({ "size_gib": 5, "tags": { "a": "1", "b": "2" }, "iops": 3000 }));
    assert_eq!(grown.differing(&before), ["size_gib", "tags.b"]);
    assert!(!Facts::Absent.is_as(&before));
}

/// What a name meant before a pull it means again, as long as nobody else moved it since.
#[test]
fn a_name_that_a_pull_moved_is_moved_back() {
    let pull = Call::Docker(DockerCall::PullImage { host: "i-1".into(), image: "a:1".into() });
    let image = Resource::Image { host: "i-1".into(), image: "a:1".into() };
    let means = |digest: &str| facts(json!({ "digest": digest }));
    let moved = effect(pull, image.clone(), means("sha256:1"), Some(means("sha256:2")));
    let back = Call::Docker(DockerCall::TagImage {
        host: "i-1".into(),
        image: "a:1".into(),
        digest: "sha256:1".to_owned(),
    });
    let now = |digest: &str| [seen(image.clone(), means(digest))];
    assert_eq!(reverse(&moved, &now("sha256:2")), Reversal::Calls(vec![back.clone()]));
    assert_eq!(reverse(&moved, &now("sha256:1")), Reversal::NothingToDo);
    assert!(matches!(reverse(&moved, &now("sha256:3")), Reversal::Cannot(_)));
    let tagged = effect(back, image.clone(), means("sha256:2"), Some(means("sha256:1")));
    let again = reverse(&tagged, &now("sha256:1"));
    assert!(matches!(again, Reversal::Calls(calls) if calls.len() == 1));

    // A pulled image that nothing is called by changes nothing; a name that was given does.
    let given = Call::Docker(DockerCall::TagImage {
        host: "i-1".into(),
        image: "a:1".into(),
        digest: "sha256:1".to_owned(),
    });
    let named = effect(given, image.clone(), Facts::Absent, Some(means("sha256:1")));
    let away = Call::Docker(DockerCall::RemoveImage { host: "i-1".into(), image: "a:1".into() });
    assert_eq!(reverse(&named, &now("sha256:1")), Reversal::Calls(vec![away]));
}

/// An undo that failed in its middle is tried again from the newest effect on, which it had taken
/// back already, as older ones of the same, perhaps.
#[test]
fn what_an_earlier_attempt_took_back_has_nothing_more_to_take_back() {
    let tags = |value: &str| facts(json!({ "tags": { "k": value } }));
    let tag =
        Call::Ebs(EbsCall::Tag { volume: "vol-1".into(), key: "k".into(), value: "3".into() });
    let third = effect(tag, volume(), tags("2"), Some(tags("3")));
    let now = |facts: Facts| [seen(volume(), facts)];
    assert!(matches!(reverse(&third, &now(tags("1"))), Reversal::Cannot(_)));
    for gone in [tags("1"), tags("2"), tags("9"), Facts::Absent] {
        assert_eq!(reverse_again(&third, &now(gone)), Reversal::NothingToDo);
    }
    // Somebody made it anew.
    assert_eq!(reverse_again(&third, &now(tags("3"))), Reversal::NothingToDo);
    // It may have come late.
    let late = PastEffect { outcome: EffectOutcome::Unknown("no answer".into()), ..third.clone() };
    assert!(matches!(reverse_again(&late, &now(tags("3"))), Reversal::Calls(_)));
    assert_eq!(reverse_again(&late, &now(tags("9"))), Reversal::NothingToDo);
    // Nobody can look.
    let unread = now(Facts::Unknown("no answer".into()));
    assert!(matches!(reverse_again(&third, &unread), Reversal::Cannot(_)));
}
