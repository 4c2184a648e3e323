//! What is read is what is kept, and what can't be taken is named.

use super::*;

fn one(written: Value) -> Grant {
    let mut read = read(&written).unwrap_or_else(|bad| panic!("{written}: {bad:?}"));
    assert_eq!(read.len(), 1, "{written}");
    read.remove(0)
}

#[test]
fn what_is_kept_reads_as_it_was() {
    for written in [
        json!("ebs"),
        json!("docker"),
        json!({ "docker": "root" }),
        json!({ "docker": ["root", "read"], "containers": ["main"] }),
        json!({ "ec2": "read" }),
        json!({ "load-balancer": ["read", "drain"], "pools": ["web-*"], "hosts": ["i-1"] }),
        json!({ "ebs": ["describe", "tag"], "where": { "tags": { "team": "db" } } }),
        json!({ "docker": ["inspect-*", "read"], "hosts": ["i-db-*", { "role": "db" }],
                "containers": ["main"], "docker_volumes": ["app-*"],
                "images": ["postgres:*"], "commands": ["true"], "env": ["POSTGRES_*"] }),
    ] {
        let grant = one(written);
        let kept = serde_json::to_value(&grant).expect("JSON");
        let again: Grant = serde_json::from_value(kept.clone()).expect("a grant");
        assert_eq!(again, grant, "{kept}");
    }
    let kept = |text: &str| serde_json::from_value::<Grant>(json!(text)).expect("a grant");
    let older = serde_json::from_value::<Grant>(json!({ "docker": ["all"] })).expect("a grant");
    assert_eq!(older.docker_volumes, DockerVolumes::Any, "older journals name none");
    let older = json!({ "ebs": ["all"], "containers": ["main"], "env": ["PW"] });
    assert_eq!(serde_json::from_value::<Grant>(older).expect("a grant"), one(json!("ebs")));
    assert_eq!(kept("docker"), Grant::unlimited(Interface::Docker), "as older journals mean it");
    assert_eq!(serde_json::to_value(kept("ebs")).expect("JSON"), json!("ebs"));
    assert_eq!(kept("log").interface, Interface::Log, "older journals have those, too");
    assert!(!one(json!("docker")).root, "in a configuration it must be spelled out");
}

/// Each interface of a table is narrowed by what narrows it, and by nothing else.
#[test]
fn a_table_of_several_interfaces_is_one_for_each() {
    let table = json!({ "ec2": ["terminate"], "docker": ["remove-*"], "containers": ["a"],
                        "docker_volumes": ["b"], "images": ["c"], "commands": ["d"],
                        "env": ["e"], "hosts": ["i-*"], "where": { "tags": { "t": "db" } } });
    let mut docker = table.clone();
    docker.as_object_mut().expect("a table").remove("ec2");
    let ec2 = json!({ "ec2": ["terminate"], "hosts": ["i-*"],
                      "where": { "tags": { "t": "db" } } });
    let both = read(&table).expect("two grants");
    assert_eq!(both, [one(docker), one(ec2)]);
    for grant in both {
        let kept = serde_json::to_value(&grant).expect("JSON");
        assert_eq!(serde_json::from_value::<Grant>(kept).expect("a grant"), grant);
    }
}

#[test]
fn what_can_not_be_taken_is_named() {
    for (written, word, help) in [
        (json!("ebz"), "ebz", "ebs"),
        (json!({ "ebz": "read" }), "ebz", "ebs"),
        (json!({ "ebs": ["describ"] }), "describ", "describe"),
        (json!({ "ebs": "rea" }), "rea", "read"),
        (json!({ "ebs": [] }), "ebs", "leave it out"),
        (json!({ "ebs": "root" }), "root", "docker"),
        (json!({ "ebs": 1 }), "ebs", "ebs = "),
        (json!({ "ebs": "read", "container": ["a"] }), "container", "containers"),
        (json!({ "ebs": "read", "containers": ["a"] }), "containers", "docker"),
        (json!({ "ebs": "read", "docker_volumes": ["a"] }), "docker_volumes", "docker"),
        (json!({ "docker": "read", "volumes": ["a"] }), "volumes", "docker_volumes"),
        (json!({ "docker": "read", "containers": [] }), "containers", "leave it out"),
        (json!({ "docker": "read", "pools": ["web"] }), "pools", "load-balancer"),
        (json!({ "load-balancer": ["drane"] }), "drane", "drain"),
        (json!({ "docker": "read", "hosts": [1] }), "hosts", "i-db-*"),
        (json!({ "docker": "read", "hosts": [] }), "hosts", "i-db-*"),
        (json!({ "ebs": "read", "where": { "tag": {} } }), "tag", "tags"),
        (json!({ "ebs": "read", "where": { "tags": {} } }), "tags", "team"),
        (json!({ "ebs": "read", "where": { "tags": { "a": 1 } } }), "tags", "team"),
        (json!({ "docker": "read", "images": ["a:b:c"] }), "a:b:c", "postgres:16"),
        (json!({ "docker": "read", "images": ["ghcr.io"] }), "ghcr.io", "postgres:16"),
        (json!({ "docker": "read", "images": ["Evil:1"] }), "Evil:1", "postgres:16"),
        (json!({ "docker": "read", "images": ["a@sha256:1"] }), "a@sha256:1", "postgres:16"),
        (json!({ "docker": "all", "commands": ["sh -c 'rm *'"] }), "sh -c 'rm *'", "rm?-rf"),
        (json!({ "docker": "all", "commands": ["echo \"*\""] }), "echo \"*\"", "?"),
    ] {
        let bad = read(&written).expect_err("it is a mistake");
        assert_eq!(bad.word.as_deref(), Some(word), "{written}: {bad:?}");
        assert!(bad.help.contains(help), "{written}: {bad:?}");
    }
    assert!(read(&json!({ "hosts": ["a"] })).is_err());
    assert!(read(&json!(["ebs"])).is_err());
}
