//! What a grant lets through is exactly what it says, and what is denied exactly what touches it or
//! would free it: held against models that share nothing with the program.

mod denied;
mod model;
mod models;
mod tries;
mod world;

use denied::is_denied;
use model::lets_through;
use proptest::prelude::*;
use serde_json::{Value, json};
use stepback_core::grants::{Asked, Grant, Grants, Known, Permit, Policy, read};
use stepback_core::*;
use tries::{apart, arguments, call, grant, world};
use world::World;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Every function of every class is tried in each case.
    #[test]
    fn what_is_let_through_is_exactly_what_the_grants_say(
        written in proptest::collection::vec(grant(), 1..3),
        arguments in arguments(),
        world in world(),
    ) {
        let grants: Grants = written.iter().flat_map(|one| read(one).expect("a grant")).collect();
        let kept = serde_json::to_value(&grants).expect("JSON");
        prop_assert_eq!(&serde_json::from_value::<Grants>(kept).expect("grants"), &grants);
        let written: Vec<Value> = written.iter().flat_map(apart).collect();
        let known = world.known();
        for function in Call::functions() {
            let (call, own) = call(function, &arguments);
            let needs_none = !call.interface().needs_grant();
            let wanted =
                needs_none || written.iter().any(|one| lets_through(one, function, &own, &world));
            let told = grants.permit(&Asked::of(&call), &known);
            prop_assert_eq!(
                told.is_allowed(), wanted, "{}({}): {:?} by {}", function, own, told, json!(written)
            );
        }
    }

    /// The same of what is denied.
    #[test]
    fn what_is_denied_is_exactly_what_touches_it_or_would_free_it(
        written in proptest::collection::vec(grant(), 1..3),
        arguments in arguments(),
        world in world(),
    ) {
        let deny: Grants = written.iter().flat_map(|one| read(one).expect("a grant")).collect();
        let policy = Policy { allow: None, deny };
        let known = world.known();
        let kept = serde_json::to_value(&policy).expect("JSON");
        prop_assert_eq!(&serde_json::from_value::<Policy>(kept).expect("a policy"), &policy);
        let written: Vec<Value> = written.iter().flat_map(apart).collect();
        for function in Call::functions() {
            let (call, own) = call(function, &arguments);
            let wanted = written.iter().any(|one| is_denied(one, function, &own, &world));
            let told = policy.permit(&Asked::of(&call), &known);
            let is_denied = !told.is_allowed();
            prop_assert_eq!(
                is_denied, wanted, "{}({}): {:?} by {}", function, own, told, json!(written)
            );
        }
    }
}

fn denied(written: Value, call: &Call, known: &Known) -> bool {
    let deny: Grants = read(&written).expect("a grant").into_iter().collect();
    let policy = Policy { allow: None, deny };
    !policy.permit(&Asked::of(call), known).is_allowed()
}

#[test]
fn what_is_denied_is_what_touches_any_of_it() {
    let teams = [("i-db-1", "db"), ("i-web-1", "web"), ("vol-1", "db"), ("vol-2", "web")];
    let world = World { teams: teams.map(|(id, team)| (id.to_owned(), team)).into() };
    let known = world.known();
    let arguments = json!({ "volume": "vol-2", "instance": "i-db-1", "device": "/dev/sdf" });
    let (attach, _) = call("ebs.attach", &arguments);
    let (start, _) =
        call("docker.start-container", &json!({ "host": "i-web-1", "container": "main" }));
    let bind = json!({ "host": "i-web-1", "volume": "x",
                       "options": { "type": "none", "o": "bind", "device": "/" } });
    let (bind, _) = call("docker.create-volume", &bind);
    let (list, _) = call("docker.list-containers", &json!({ "host": "i-web-1" }));
    for (written, call, wanted) in [
        (json!("ebs"), &attach, true),
        (json!({ "ebs": "all", "where": { "tags": { "team": "db" } } }), &attach, true),
        (json!({ "ebs": "all", "where": { "tags": { "team": "none" } } }), &attach, false),
        (json!({ "ebs": "read" }), &attach, false),
        (json!({ "docker": "all", "containers": ["main"] }), &start, true),
        (json!({ "docker": "all", "containers": ["other"] }), &start, false),
        (json!({ "docker": "all", "hosts": ["i-db-*"] }), &start, false),
        (json!({ "docker": "all", "hosts": ["i-db-*", { "team": "web" }] }), &start, true),
        (json!({ "docker": "root" }), &start, false),
        (json!({ "docker": "root" }), &bind, true),
        (json!({ "docker": "all", "containers": ["main"] }), &list, false),
        (json!({ "docker": "all", "hosts": ["i-web-1"] }), &list, true),
    ] {
        assert_eq!(denied(written.clone(), call, &known), wanted, "{written} {}", call.function());
        // What nobody knows may be what is denied.
        let is_by_tags = written.get("where").is_some() || written.get("hosts").is_some();
        if is_by_tags && call.interface() == Interface::Docker {
            assert!(denied(written.clone(), call, &Known::default()), "{written}");
        }
    }
    let id = json!({ "host": "i-web-1", "container": "0123456789abcdef" });
    let (by_id, _) = self::call("docker.start-container", &id);
    assert!(denied(json!({ "docker": "all", "containers": ["main"] }), &by_id, &known));
    // An engine takes any beginning of an image's id.
    let id = json!({ "host": "i-web-1", "image": "d0d0" });
    let (by_id, _) = self::call("docker.inspect-image", &id);
    assert!(denied(json!({ "docker": "all", "images": ["evil/*"] }), &by_id, &known));
    // Nobody knows yet what the name of that one ends with.
    let once = json!({ "host": "i-web-1", "spec": { "image": "x" }, "timeout_ms": 1 });
    let (once, _) = self::call("docker.run-once", &once);
    for (pattern, wanted) in [("stepback-7*", true), ("stepback-*", true), ("main", false)] {
        let deny = json!({ "docker": "all", "containers": [pattern] });
        assert_eq!(denied(deny, &once, &known), wanted, "{pattern}");
    }
}

/// Whoever is denied something can't make it another thing first.
#[test]
fn what_is_denied_is_not_freed_first() {
    let teams = [("i-db-1", "db"), ("i-web-1", "web"), ("vol-1", "db"), ("vol-2", "web")];
    let world = World { teams: teams.map(|(id, team)| (id.to_owned(), team)).into() };
    let known = world.known();
    let by_tag = json!({ "ebs": ["delete-volume"], "where": { "tags": { "team": "db" } } });
    let by_host = json!({ "docker": ["stop-container"], "hosts": [{ "team": "db" }] });
    let by_name = json!({ "ec2": ["terminate"], "hosts": ["name-of-i-db-*"] });
    let by_id = json!({ "ec2": ["terminate"], "hosts": ["i-db-*"] });
    let of_ec2 = json!({ "ec2": ["terminate"], "where": { "tags": { "team": "db" } } });
    let container = json!({ "docker": ["stop-container"], "containers": ["main"] });
    let tag = |id: &str, key: &str, value: Option<&str>| {
        let kind = if id.starts_with("i-") { "ec2" } else { "ebs" };
        let what = if value.is_some() { "tag" } else { "untag" };
        let of = json!({ "instance": id, "volume": id, "key": key, "value": value });
        call(&format!("{kind}.{what}"), &of).0
    };
    let rename = |from: &str, to: &str| {
        let of = json!({ "host": "i-web-1", "container": from, "to": to });
        call("docker.rename-container", &of).0
    };
    for (written, call, wanted) in [
        (&by_tag, tag("vol-1", "team", None), true),
        (&by_tag, tag("vol-1", "team", Some("web")), true),
        (&by_tag, tag("vol-1", "team", Some("db")), false),
        (&by_tag, tag("vol-1", "other", Some("web")), false),
        (&by_tag, tag("vol-2", "team", Some("none")), false),
        // It is not known whether that one has it.
        (&by_tag, tag("vol-gone", "team", None), true),
        (&by_tag, tag("vol-gone", "other", None), false),
        (&by_host, tag("i-db-1", "team", None), true),
        (&by_host, tag("i-web-1", "team", None), false),
        (&by_host, tag("vol-1", "team", None), false),
        (&by_name, tag("i-db-1", "Name", Some("x")), true),
        (&by_name, tag("i-db-1", "Name", Some("name-of-i-db-x")), false),
        // No tag makes an id another one.
        (&by_id, tag("i-db-1", "Name", Some("x")), false),
        (&of_ec2, tag("i-db-1", "team", None), true),
        // Nothing of `ec2` names a volume by its tags.
        (&of_ec2, tag("vol-1", "team", None), false),
        (&container, rename("main", "other"), true),
        (&container, rename("other", "main"), false),
        (&container, rename("other", "more"), false),
        (&container, rename("0123456789abcdef", "more"), true),
    ] {
        assert_eq!(denied(written.clone(), &call, &known), wanted, "{written} {call:?}");
    }
    let deny: Grants = read(&by_tag).expect("a grant").into_iter().collect();
    let untag = tag("vol-1", "team", None);
    let told = Policy { allow: None, deny }.permit(&Asked::of(&untag), &known);
    let wanted = "it would change the tag `team` of ebs:volume/vol-1, by which it is denied there: \
                  [ebs: delete-volume; on what has the tags team = db]";
    assert_eq!(told, Permit::Refused(wanted.to_owned()));
}

#[test]
fn a_refusal_names_the_part_of_the_grant_that_came_furthest() {
    let grants: Grants = [
        json!({ "docker": ["inspect-*"] }),
        json!({ "docker": ["start-container"], "hosts": ["i-db-*"], "containers": ["main"] }),
    ]
    .iter()
    .flat_map(|one| read(one).expect("a grant"))
    .collect();
    let (start, _) =
        call("docker.start-container", &json!({ "host": "i-db-1", "container": "other" }));
    let known = Known::default();
    let Permit::Refused(why) = grants.permit(&Asked::of(&start), &known) else { panic!("allowed") };
    let wanted = "`containers` of the grant [docker: start-container; on the hosts i-db-*; for the \
                  containers main]: `other` is none of them";
    assert_eq!(why, wanted);
    let (describe, _) = call("ec2.describe", &json!({ "instance": "i-db-1" }));
    let told = grants.permit(&Asked::of(&describe), &known);
    assert_eq!(told, Permit::Refused("`ec2` is not granted".to_owned()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// What is told to deny nothing would not have denied anything; and what has to do with what it
    /// names is not told so.
    #[test]
    fn what_denies_nothing_denies_none_of_all_calls(
        written in grant(),
        arguments in arguments(),
        world in world(),
    ) {
        let known = world.known();
        let is_useless = |one: &Grant| one.hits_nothing_by().is_some();
        let useless: Vec<Grant> =
            read(&written).expect("a grant").into_iter().filter(is_useless).collect();
        let deny: Grants = useless.into_iter().collect();
        let policy = Policy { allow: None, deny };
        for function in Call::functions() {
            // What would free it is denied by what it names, and not as one of the functions.
            if ["rename-container", "tag", "untag"].iter().any(|one| function.ends_with(one)) {
                continue;
            }
            let (call, own) = call(function, &arguments);
            let told = policy.permit(&Asked::of(&call), &known);
            prop_assert!(told.is_allowed(), "{}({}) by {}", function, own, written);
        }
    }
}

#[test]
fn a_key_that_none_of_the_functions_has_is_told() {
    let told = |written: Value| {
        let useless = read(&written).expect("a grant").iter().find_map(Grant::hits_nothing_by);
        useless.map(|(keys, _)| keys.join(" "))
    };
    for (written, key) in [
        (json!({ "docker": ["start-container"], "docker_volumes": ["a"] }), Some("docker_volumes")),
        (json!({ "docker": ["create-volume"], "containers": ["a"] }), Some("containers")),
        (json!({ "docker": ["stop-container", "logs"], "images": ["a"] }), Some("images")),
        (json!({ "docker": ["start-container"], "commands": ["a"] }), Some("commands")),
        (json!({ "docker": ["exec"], "env": ["A"] }), Some("env")),
        (json!({ "docker": ["start-container", "create-*"], "docker_volumes": ["a"] }), None),
        (json!({ "docker": "read", "images": ["a"] }), None),
        (json!({ "docker": "all", "env": ["A"] }), None),
        (
            json!({ "docker": ["exec", "pull-image"], "images": ["a"], "commands": ["a"] }),
            Some("images commands"),
        ),
        (json!({ "docker": ["root", "stop-container"] }), Some("root")),
        (json!({ "docker": ["root", "exec"] }), None),
        (json!({ "ebs": ["create-snapshot"], "hosts": ["a"] }), Some("hosts")),
        (json!({ "ebs": ["detach"], "hosts": ["a"] }), None),
        (json!({ "ebs": "all", "docker": ["exec"], "hosts": ["a"], "commands": ["a"] }), None),
        (json!({ "docker": "root", "env": ["A"] }), None),
        (json!({ "load-balancer": ["describe-pool"], "hosts": ["a"] }), None),
        (json!({ "load-balancer": ["drain"], "hosts": ["a"], "pools": ["web"] }), None),
    ] {
        assert_eq!(told(written.clone()).as_deref(), key, "{written}");
    }
}
