//! What puts a volume, a snapshot or an instance back, in commands of the AWS CLI (AWS CLI Command
//! Reference, *ec2*).

use serde_json::json;
use stepback_core::shell::{quoted, word};
use stepback_core::{Facts, Resource};
use stepback_provider::advice::Advice;
use stepback_provider::mends::{HOLDS_A_SECRET, Mend, mends};

pub(crate) fn advice(resource: &Resource, before: &Facts, now: &Facts) -> Advice {
    let all = mends(resource, before, now);
    let (secret, mends): (Vec<_>, Vec<_>) = all.into_iter().partition(|mend| mend.needs_a_secret());
    match (mends.is_empty(), secret.is_empty()) {
        (false, true) => return Advice::Paste(commands(&mends).join(" && ")),
        (false, false) => {
            return Advice::Paste(format!("{}; {HOLDS_A_SECRET}", commands(&mends).join(" && ")));
        }
        (true, false) => {
            return Advice::LookAt(format!("{}; {HOLDS_A_SECRET}", Advice::look_at(resource)));
        }
        (true, true) => {}
    }
    match (resource, before.is_absent(), now.is_absent()) {
        (_, false, true) => Advice::make_anew(resource),
        (Resource::Volume { id }, false, false) => {
            Advice::LookAt(format!("aws ec2 describe-volumes --volume-ids {}", word(id)))
        }
        (Resource::Instance { id }, false, false) => {
            Advice::LookAt(format!("aws ec2 describe-instances --instance-ids {}", word(id)))
        }
        _ => Advice::look_at(resource),
    }
}

fn commands(mends: &[Mend<'_>]) -> Vec<String> {
    let mut commands = vec![];
    for (index, mend) in mends.iter().enumerate() {
        match mend {
            // One that is still stopping keeps its type.
            Mend::SetInstanceType { instance, .. } => {
                let id = word(instance);
                commands.push(format!("aws ec2 wait instance-stopped --instance-ids {id}"));
            }
            // One that is still being let go is attached nowhere else, and is not deleted.
            Mend::Attach { volume, .. } | Mend::DeleteVolume { volume } if index > 0 => {
                let id = word(volume);
                commands.push(format!("aws ec2 wait volume-available --volume-ids {id}"));
            }
            _ => {}
        }
        commands.push(format!("aws ec2 {}", command(mend)));
    }
    commands
}

fn command(mend: &Mend<'_>) -> String {
    match *mend {
        Mend::DeleteVolume { volume } => format!("delete-volume --volume-id {}", word(volume)),
        Mend::DeleteSnapshot { snapshot } => {
            format!("delete-snapshot --snapshot-id {}", word(snapshot))
        }
        Mend::TerminateInstance { instance } => {
            format!("terminate-instances --instance-ids {}", word(instance))
        }
        Mend::Detach { volume, instance } => {
            let (volume, instance) = (word(volume), word(instance));
            format!("detach-volume --volume-id {volume} --instance-id {instance}")
        }
        Mend::Attach { volume, instance, device } => {
            let (volume, instance, device) = (word(volume), word(instance), word(device));
            format!("attach-volume --volume-id {volume} --instance-id {instance} --device {device}")
        }
        Mend::StopInstance { instance } => {
            format!("stop-instances --instance-ids {}", word(instance))
        }
        Mend::SetInstanceType { instance, instance_type } => {
            let (id, kind) = (word(instance), word(instance_type));
            format!("modify-instance-attribute --instance-id {id} --instance-type Value={kind}")
        }
        Mend::StartInstance { instance } => {
            format!("start-instances --instance-ids {}", word(instance))
        }
        Mend::TagVolume { volume: id, key, value }
        | Mend::TagInstance { instance: id, key, value } => {
            // As JSON: in the shorthand a comma or a quote means something (AWS CLI User Guide,
            // *Using shorthand syntax*).
            let tags = quoted(&json!([{ "Key": key, "Value": value }]).to_string());
            format!("create-tags --resources {} --tags {tags}", word(id))
        }
        Mend::UntagVolume { volume: id, key } | Mend::UntagInstance { instance: id, key } => {
            let tags = quoted(&json!([{ "Key": key }]).to_string());
            format!("delete-tags --resources {} --tags {tags}", word(id))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn volume(id: &str) -> Resource {
        Resource::Volume { id: id.to_owned() }
    }

    fn attached(instance: &str, tags: Value) -> Facts {
        let attachments = json!([{ "instance": instance, "device": "/dev/sdf" }]);
        Facts::from_json(json!({ "attachments": attachments, "tags": tags }))
    }

    #[test]
    fn what_to_do_is_said_in_commands_of_the_aws_cli() {
        let (before, now) =
            (attached("i-a", json!({ "who": "Ann's" })), attached("i-b", json!({})));
        let said = advice(&volume("vol-1"), &before, &now).to_string();
        let commands: Vec<&str> = said.split(" && ").collect();
        let expected = [
            "aws ec2 detach-volume --volume-id vol-1 --instance-id i-b",
            "aws ec2 wait volume-available --volume-ids vol-1",
            "aws ec2 attach-volume --volume-id vol-1 --instance-id i-a --device /dev/sdf",
            r#"aws ec2 create-tags --resources vol-1 --tags '[{"Key":"who","Value":"Ann'\''s"}]'"#,
        ];
        assert_eq!(commands, expected);
        let there = attached("i-a", json!({}));
        let resized = Facts::from_json(json!({ "size_gib": 8 }));
        let grown = Facts::from_json(json!({ "size_gib": 9 }));
        let snapshot = Resource::Snapshot { id: "snap-1".to_owned() };
        let instance = Resource::Instance { id: "i-1".to_owned() };
        let table = [
            (
                volume("vol-1"),
                Facts::Absent,
                grown.clone(),
                "aws ec2 delete-volume --volume-id vol-1",
            ),
            (
                volume("vol-1"),
                Facts::Absent,
                there.clone(),
                "aws ec2 detach-volume --volume-id vol-1 --instance-id i-a && aws ec2 wait \
                 volume-available --volume-ids vol-1 && aws ec2 delete-volume --volume-id vol-1",
            ),
            (
                snapshot.clone(),
                Facts::Absent,
                there.clone(),
                "aws ec2 delete-snapshot --snapshot-id snap-1",
            ),
            (
                instance,
                Facts::Absent,
                there.clone(),
                "aws ec2 terminate-instances --instance-ids i-1",
            ),
            (volume("vol-1"), resized, grown, "aws ec2 describe-volumes --volume-ids vol-1"),
            (snapshot, there, Facts::Absent, "ebs:snapshot/snap-1 is gone: make it anew as it was"),
        ];
        for (resource, before, now, wanted) in table {
            assert_eq!(advice(&resource, &before, &now).to_string(), wanted);
        }
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
        let tag = r#"aws ec2 create-tags --resources i-1 --tags '[{"Key":"k","Value":"v"}]'"#;
        let look = "aws ec2 describe-instances --instance-ids i-1";
        let stopped = of("stopped", "t3.small", json!({}));
        let table = [
            (&was, of("stopped", "t3.small", json!({ "k": "v" })), vec![start]),
            (&was, of("running", "t3.large", json!({ "k": "v" })), vec![stop, wait, set, start]),
            (&was, of("stopped", "t3.large", json!({ "k": "v" })), vec![wait, set, start]),
            (&was, of("running", "t3.small", json!({})), vec![tag]),
            (&stopped, of("running", "t3.small", json!({})), vec![stop]),
            (&stopped, stopped.clone(), vec![look]),
        ];
        for (before, now, wanted) in table {
            assert_eq!(advice(&instance, before, &now).to_string(), wanted.join(" && "));
        }
    }

    #[test]
    fn a_name_is_one_word_of_a_shell_whatever_is_in_it() {
        let at = |tags: Value| Facts::from_json(json!({ "attachments": [], "tags": tags }));
        let (was, is) = (at(json!({ "k": "v" })), at(json!({})));
        let said = advice(&volume("v;reboot"), &was, &is).to_string();
        assert!(said.contains("--resources 'v;reboot'"), "{said}");
        let (was, is) = (attached("i-a", json!({})), attached("$(reboot)", json!({})));
        let said = advice(&volume("vol-1"), &was, &is).to_string();
        assert!(said.contains("--instance-id '$(reboot)'"), "{said}");
    }
}
