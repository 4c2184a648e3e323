//! Whatever a guest writes: a secret goes where it was given to go, and nowhere else.

use super::*;
use serde_json::json;
use stepback_core::calls::{ContainerSpec, DockerCall, EbsCall};
use stepback_files::key::KEY_BYTES;

fn door(step: &str, secrets: &[&str], reveal: &[Sink]) -> Door {
    let key = Key::of_bytes(&[7; KEY_BYTES]).expect("a key");
    let given = secrets.iter().map(|name| (*name).to_owned()).collect();
    let of = Some((&StoreId("store/runner".into()), OperationId(1)));
    Door::new(&key, given, reveal.to_vec(), &StepKey::plain(step), of)
}

fn handle(door: &Door) -> String {
    let with = door.let_in(&json!(secret_placeholder("pw")));
    with.as_str().expect("a text").to_owned()
}

/// A container with this in each place that a text can be in.
fn made(fill: impl Fn(&mut ContainerSpec)) -> Call {
    let mut spec = ContainerSpec { image: "db:1".into(), ..ContainerSpec::default() };
    fill(&mut spec);
    DockerCall::CreateContainer { host: "i-1".into(), container: "app".into(), spec }.into()
}

fn told(door: &Door, call: &Call) -> Result<Call, String> {
    door.let_out(call).allowed().map_err(|failure| failure.message)
}

#[test]
fn a_handle_becomes_a_mark_in_the_environment_alone() {
    let door = door("make", &["pw"], &[]);
    let handle = handle(&door);
    assert_eq!(handle.len(), PREFIX.len() + 32);
    let url = made(|spec| {
        spec.env.insert("URL".into(), format!("postgres://u:{handle}@db/{handle}"));
    });
    let mark = secret_placeholder("pw");
    let wanted = made(|spec| {
        spec.env.insert("URL".into(), format!("postgres://u:{mark}@db/{mark}"));
    });
    assert_eq!(told(&door, &url), Ok(wanted));
    type Fill<'a> = (&'a str, Box<dyn Fn(&mut ContainerSpec) + 'a>);
    let elsewhere: Vec<Fill<'_>> = vec![
        ("spec.image", Box::new(|spec| spec.image = format!("evil.example/{handle}"))),
        ("spec.command[1]", Box::new(|spec| spec.command = vec!["x".into(), handle.clone()])),
        ("a key of spec.env", Box::new(|spec| drop(spec.env.insert(handle.clone(), "x".into())))),
        (
            "spec.labels.a",
            Box::new(|spec| {
                spec.labels.insert("a".into(), handle.clone());
            }),
        ),
        ("spec.restart", Box::new(|spec| spec.restart = handle.clone())),
        ("spec.ports[0]", Box::new(|spec| spec.ports = vec![handle.clone()])),
    ];
    for (place, fill) in elsewhere {
        let why = told(&door, &made(fill)).expect_err(place);
        assert!(why.contains(&format!("`{place}` holds the secret `pw`")), "{why}");
        assert!(!why.contains(&handle), "{why}");
    }
    let tag = |value: &str| -> Call {
        EbsCall::Tag { volume: "vol-1".into(), key: "k".into(), value: value.into() }.into()
    };
    let why = told(&door, &tag(&handle)).expect_err("a tag");
    assert!(why.starts_with("ebs.tag: `value` holds the secret `pw`"), "{why}");
    // It is journaled as what it stands for.
    assert_eq!(door.let_out(&tag(&handle)).call, tag(&mark));
}

#[test]
fn a_command_is_revealed_in_only_where_the_step_says_so() {
    let run = |door: &Door| {
        let handle = handle(door);
        told(door, &made(|spec| spec.command = vec![format!("--password={handle}")]))
    };
    assert!(run(&door("make", &["pw"], &[])).expect_err("it").contains("reveal = [\"command\"]"));
    assert!(run(&door("make", &["pw"], &[Sink::Command])).is_ok());
}

#[test]
fn what_was_not_given_to_the_step_is_refused() {
    let own = door("make", &["pw"], &[Sink::Command]);
    let anothers = handle(&door("other", &["pw"], &[]));
    let env = |text: &str| made(|spec| drop(spec.env.insert("X".into(), text.to_owned())));
    assert!(told(&own, &env(&anothers)).expect_err("it").contains("of another step"));
    for mark in [secret_placeholder("pw"), secret_placeholder("pw<3"), "a\u{1}b".to_owned()] {
        assert!(told(&own, &env(&mark)).expect_err("it").contains("U+0001"));
    }
    for text in ["stepback-secret-", "stepback-secret-of-the-week", "secret:pw", "pw"] {
        assert_eq!(told(&own, &env(text)), Ok(env(text)), "other text stays text");
    }
    // What no secret is given to has no handle, and writes none.
    let none = door("none", &[], &[]);
    assert!(told(&none, &env(&handle(&own))).is_err());
    assert_eq!(
        none.let_in(&json!({ "x": secret_placeholder("pw") }))["x"],
        secret_placeholder("pw")
    );
}

#[test]
fn a_handle_is_one_steps_in_one_operation() {
    let key = Key::of_bytes(&[7; KEY_BYTES]).expect("a key");
    let of = |store: &str, id: u64, secret: &str, step: &str| {
        let given = BTreeSet::from([secret.to_owned()]);
        let store = StoreId(store.into());
        let of = Some((&store, OperationId(id)));
        Door::new(&key, given, vec![], &StepKey::plain(step), of).handles[0].text.clone()
    };
    let first = of("s", 1, "pw", "a");
    assert_eq!(first, of("s", 1, "pw", "a"), "a replay sees the same");
    for other in [of("t", 1, "pw", "a"), of("s", 2, "pw", "a"), of("s", 1, "pv", "a")] {
        assert_ne!(first, other);
    }
    assert_ne!(first, of("s", 1, "pw", "b"));
}

/// What steps told is put between texts of a manifest; no two pieces make what stands for a secret.
#[test]
fn a_handle_is_put_in_for_a_whole_mark_alone() {
    let door = door("make", &["pw"], &[]);
    let told = |name: &str| secret_placeholder(name);
    for text in [
        format!("{}secret:pw{}", told("x#told"), told("y#told")),
        "\u{1}secret:pw".to_owned(),
        "secret:pw\u{1}".to_owned(),
        told("pw#told"),
        told("pw "),
    ] {
        assert_eq!(door.let_in(&json!(text)), json!(text));
    }
    let text = format!("\u{1}{}\u{1}", told("pw"));
    assert_eq!(door.let_in(&json!(text)), json!(format!("\u{1}{}\u{1}", handle(&door))));
}

#[test]
fn a_guest_is_given_handles_and_people_are_shown_none() {
    let door = door("make", &["pw"], &[]);
    let with = json!({ "env": { "PW": format!("x{}", secret_placeholder("pw")) } });
    let given = door.let_in(&with);
    assert_eq!(given["env"]["PW"], format!("x{}", handle(&door)));
    assert_eq!(door.hide_all(given), with);
}
