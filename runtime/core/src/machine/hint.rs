//! What a person can paste to put a resource back.

use crate::resource::{Facts, Resource};
use crate::shell::{quoted, word};
use crate::texts::MapTexts;
use serde_json::Value;

/// Who keeps the instances and volumes, and so, what can be pasted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cloud {
    /// EC2's own command line.
    Ec2,
    /// A onebox has none but Stepback's steps.
    Onebox,
    /// Nobody: in a copy of production the ids are production's, so nothing is to be pasted that
    /// another tool would carry out.
    Simulated,
}

impl Cloud {
    /// The command, or the step that does the same with these inputs.
    fn way(self, command: &str, step: &str, with: &[(&str, &str)]) -> String {
        match self {
            Cloud::Ec2 => format!("aws ec2 {command}"),
            Cloud::Onebox | Cloud::Simulated => {
                let with = with.iter().map(|(name, value)| format!("{name} = {value:?}"));
                let with: Vec<String> = with.collect();
                let is_final = ["ebs/delete-volume", "ebs/delete-snapshot"].contains(&step);
                let declared = if is_final { ", irreversible = \"it was not there\"" } else { "" };
                format!("uses = \"{step}\", with = {{ {} }}{declared}", with.join(", "))
            }
        }
    }

    fn all(self, ways: &[String]) -> String {
        match self {
            Cloud::Ec2 => ways.join(" && "),
            Cloud::Onebox => format!("run a manifest with the step {}", ways.join(", then ")),
            Cloud::Simulated => {
                format!("in the simulation, run a manifest with the step {}", ways.join(", then "))
            }
        }
    }

    fn one(self, command: &str, step: &str, with: &[(&str, &str)]) -> String {
        self.all(&[self.way(command, step, with)])
    }
}

pub(super) fn hint(cloud: Cloud, resource: &Resource, before: &Facts, now: &Facts) -> String {
    // What a name says is no command.
    let resource = &resource.map_texts(&|name| word(name));
    let is_cloud = matches!(
        resource,
        Resource::Volume { .. } | Resource::Snapshot { .. } | Resource::Instance { .. }
    );
    if cloud == Cloud::Simulated && !is_cloud {
        return format!("in the simulation, look at {resource}; it was: {before}");
    }
    match (resource, before.is_absent(), now.is_absent()) {
        (Resource::Volume { id }, true, false) => cloud.one(
            &format!("delete-volume --volume-id {id}"),
            "ebs/delete-volume",
            &[("volume", id)],
        ),
        (Resource::Volume { id }, false, false) => volume_hint(cloud, id, before, now),
        (Resource::Snapshot { id }, true, false) => cloud.one(
            &format!("delete-snapshot --snapshot-id {id}"),
            "ebs/delete-snapshot",
            &[("snapshot", id)],
        ),
        (Resource::Instance { id }, true, false) => cloud.one(
            &format!("terminate-instances --instance-ids {id}"),
            "ec2/terminate-instance",
            &[("instance", id)],
        ),
        (Resource::Instance { id }, false, false) => instance_hint(cloud, id, before, now),
        (Resource::Container { host, name }, true, false) => {
            format!("on {host}: docker rm -f {name}")
        }
        (Resource::Container { host, name }, false, false) => {
            container_hint(host, name, before, now)
        }
        (Resource::DockerVolume { host, name }, true, false) => {
            format!("on {host}: docker volume rm {name}")
        }
        (_, false, true) => {
            format!("{resource} is gone: make it anew as it was ({})", without_seals(before))
        }
        _ => format!("look at {resource}; it was: {before}"),
    }
}

/// What can be read of facts: what is sealed tells nobody how it was.
fn without_seals(facts: &Facts) -> Facts {
    let Facts::Present(map) = facts else { return facts.clone() };
    let mut map = map.clone();
    map.retain(|_, value| !value.to_string().contains("\"sealed:"));
    Facts::Present(map)
}

fn instance_hint(cloud: Cloud, id: &str, before: &Facts, now: &Facts) -> String {
    let with = [("instance", id)];
    let text = |facts: &Facts, name: &str| facts.get(name)?.as_str().map(str::to_owned);
    let runs = |facts: &Facts| text(facts, "state").as_deref() == Some("running");
    let stop = || {
        let command = format!("stop-instances --instance-ids {id}");
        cloud.way(&command, "ec2/stop-instance", &with)
    };
    let (mut ways, mut up) = (vec![], runs(now));
    if let Some(kind) = text(before, "type").filter(|kind| text(now, "type").as_ref() != Some(kind))
    {
        // It is changed only while the instance is stopped.
        if std::mem::take(&mut up) {
            ways.push(stop());
            if cloud == Cloud::Ec2 {
                ways.push(format!("aws ec2 wait instance-stopped --instance-ids {id}"));
            }
        }
        let kind = word(&kind);
        ways.push(cloud.way(
            &format!("modify-instance-attribute --instance-id {id} --instance-type Value={kind}"),
            "ec2/set-instance-type",
            &[("instance", id), ("instance_type", &kind)],
        ));
    }
    match (runs(before), up) {
        (true, false) => ways.push(cloud.way(
            &format!("start-instances --instance-ids {id}"),
            "ec2/start-instance",
            &with,
        )),
        (false, true) => ways.push(stop()),
        (true, true) | (false, false) => {}
    }
    if cloud == Cloud::Ec2 {
        ways.extend(tag_ways(cloud, id, before, now));
    }
    match ways.is_empty() {
        false => cloud.all(&ways),
        true => cloud.one(
            &format!("describe-instances --instance-ids {id}"),
            "ec2/describe-instance",
            &with,
        ),
    }
}

fn container_hint(host: &str, name: &str, before: &Facts, now: &Facts) -> String {
    let differs = |fact: &str| before.get(fact) != now.get(fact);
    let mut commands = vec![];
    if let Some(Value::String(restart)) = before.get("restart")
        && differs("restart")
    {
        commands.push(format!("docker update --restart {restart} {name}"));
    }
    match before.get("running") {
        Some(Value::Bool(true)) if differs("running") => {
            commands.push(format!("docker start {name}"));
        }
        Some(Value::Bool(false)) if differs("running") => {
            commands.push(format!("docker stop {name}"));
        }
        _ => {}
    }
    let shape = ["image", "digest", "env", "mounts", "ports", "command", "networks", "config"];
    if commands.is_empty() || shape.into_iter().any(differs) {
        commands.insert(0, format!("docker inspect {name}"));
    }
    format!("on {host}: {}", commands.join(" && "))
}

fn volume_hint(cloud: Cloud, volume: &str, before: &Facts, now: &Facts) -> String {
    let mut ways = attachment_ways(cloud, volume, before, now);
    ways.extend(tag_ways(cloud, volume, before, now));
    match ways.is_empty() {
        false => cloud.all(&ways),
        true => cloud.one(
            &format!("describe-volumes --volume-ids {volume}"),
            "ebs/describe-volume",
            &[("volume", volume)],
        ),
    }
}

fn attachment_ways(cloud: Cloud, volume: &str, before: &Facts, now: &Facts) -> Vec<String> {
    let attachments = |facts: &Facts| match facts.get("attachments") {
        Some(Value::Array(list)) => list.clone(),
        _ => vec![],
    };
    let text = |attachment: &Value, name: &str| {
        attachment.get(name).and_then(Value::as_str).unwrap_or("?").to_owned()
    };
    let (was, is) = (attachments(before), attachments(now));
    let detach = is.iter().filter(|a| !was.contains(a)).map(|a| {
        let instance = word(&text(a, "instance"));
        cloud.way(
            &format!("detach-volume --volume-id {volume} --instance-id {instance}"),
            "ebs/detach-volume",
            &[("volume", volume), ("instance", &instance)],
        )
    });
    let attach = was.iter().filter(|a| !is.contains(a)).map(|a| {
        let (instance, device) = (word(&text(a, "instance")), word(&text(a, "device")));
        cloud.way(
            &format!(
                "attach-volume --volume-id {volume} --instance-id {instance} --device {device}"
            ),
            "ebs/attach-volume",
            &[("volume", volume), ("instance", &instance), ("device", &device)],
        )
    });
    detach.chain(attach).collect()
}

fn tag_ways(cloud: Cloud, id: &str, before: &Facts, now: &Facts) -> Vec<String> {
    let tags = |facts: &Facts| match facts.get("tags") {
        Some(Value::Object(tags)) => tags.clone(),
        _ => serde_json::Map::new(),
    };
    let (was, is) = (tags(before), tags(now));
    let surplus = is.keys().filter(|key| !was.contains_key(*key)).map(|key| {
        cloud.way(
            &format!("delete-tags --resources {id} --tags {}", quoted(&format!("Key={key}"))),
            "ebs/untag-volume",
            &[("volume", id), ("key", key)],
        )
    });
    let lost = was.iter().filter(|(key, value)| is.get(*key) != Some(value));
    let lost = lost.map(|(key, value)| {
        let value = value.as_str().unwrap_or_default();
        let tag = quoted(&format!("Key={key},Value={value}"));
        cloud.way(
            &format!("create-tags --resources {id} --tags {tag}"),
            "ebs/tag-volume",
            &[("volume", id), ("key", key), ("value", value)],
        )
    });
    surplus.chain(lost).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_to_do_is_said_in_words_that_reach_the_world_it_is_about() {
        let volume = Resource::Volume { id: "vol-1".to_owned() };
        let at = |instance: &str, tags: Value| {
            let attachments = json!([{ "instance": instance, "device": "/dev/sdf" }]);
            Facts::from_json(json!({ "attachments": attachments, "tags": tags }))
        };
        let (before, now) = (at("i-a", json!({ "who": "Ann's" })), at("i-b", json!({})));
        let on_ec2 = hint(Cloud::Ec2, &volume, &before, &now);
        let commands: Vec<&str> = on_ec2.split(" && ").collect();
        let expected = [
            "aws ec2 detach-volume --volume-id vol-1 --instance-id i-b",
            "aws ec2 attach-volume --volume-id vol-1 --instance-id i-a --device /dev/sdf",
            r"aws ec2 create-tags --resources vol-1 --tags 'Key=who,Value=Ann'\''s'",
        ];
        assert_eq!(commands, expected);
        let on_a_onebox = hint(Cloud::Onebox, &volume, &before, &now);
        let step = r#"uses = "ebs/attach-volume", with = { volume = "vol-1", instance = "i-a", "#;
        assert!(on_a_onebox.contains(step) && !on_a_onebox.contains("aws"), "{on_a_onebox}");
    }

    #[test]
    fn an_instance_is_changed_back_as_ec2_lets_it_be_changed() {
        let instance = Resource::Instance { id: "i-1".to_owned() };
        let of = |state: &str, kind: &str, tags: Value| {
            Facts::from_json(json!({ "state": state, "type": kind, "tags": tags }))
        };
        let was = of("running", "t3.small", json!({ "k": "v" }));
        let start = "aws ec2 start-instances --instance-ids i-1";
        let stop = "aws ec2 stop-instances --instance-ids i-1";
        let wait = "aws ec2 wait instance-stopped --instance-ids i-1";
        let set = "aws ec2 modify-instance-attribute --instance-id i-1 --instance-type \
                   Value=t3.small";
        let tag = "aws ec2 create-tags --resources i-1 --tags 'Key=k,Value=v'";
        let stopped = of("stopped", "t3.small", json!({}));
        let table = [
            (&was, of("stopped", "t3.small", json!({ "k": "v" })), vec![start]),
            (&was, of("running", "t3.large", json!({ "k": "v" })), vec![stop, wait, set, start]),
            (&was, of("stopped", "t3.large", json!({ "k": "v" })), vec![set, start]),
            (&was, of("running", "t3.small", json!({})), vec![tag]),
            (&stopped, of("running", "t3.small", json!({})), vec![stop]),
        ];
        for (before, now, wanted) in table {
            assert_eq!(hint(Cloud::Ec2, &instance, before, &now), wanted.join(" && "));
        }
        let larger = of("running", "t3.large", json!({ "k": "v" }));
        let steps = hint(Cloud::Onebox, &instance, &was, &larger);
        let set =
            "ec2/set-instance-type\", with = { instance = \"i-1\", instance_type = \"t3.small\" }";
        assert!(steps.contains(set) && !steps.contains("aws"), "{steps}");
    }

    #[test]
    fn a_name_is_one_word_of_a_shell_whatever_is_in_it() {
        let table = [
            ("vol-1", "vol-1"),
            ("host/db.1:2@x_y", "host/db.1:2@x_y"),
            ("", "''"),
            ("a b", "'a b'"),
            ("x;reboot", "'x;reboot'"),
            ("$(reboot)", "'$(reboot)'"),
            ("~root", "'~root'"),
            ("it's", r"'it'\''s'"),
        ];
        for (name, written) in table {
            assert_eq!(word(name), written);
        }
        let volume = Resource::Volume { id: "v;reboot".to_owned() };
        let at = |tags: Value| Facts::from_json(json!({ "attachments": [], "tags": tags }));
        let said = hint(Cloud::Ec2, &volume, &at(json!({ "k": "v" })), &at(json!({})));
        assert!(said.contains("--resources 'v;reboot'"), "{said}");
    }

    #[test]
    fn what_is_sealed_tells_nobody_how_it_was() {
        let facts = Facts::from_json(json!({
            "image": "postgres:16", "config": { "IpcMode": "sealed:98" }, "running": true,
        }));
        let shown = without_seals(&facts).to_string();
        assert!(shown.contains("postgres:16") && shown.contains("running"), "{shown}");
        assert!(!shown.contains("sealed"), "{shown}");
    }
}
