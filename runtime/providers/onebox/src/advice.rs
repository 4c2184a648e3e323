//! What puts a volume or a snapshot of a onebox back: Stepback's own steps, because its files and
//! loop devices have no command line that keeps its ledger.

use stepback_core::{Facts, Resource};
use stepback_provider::advice::Advice;
use stepback_provider::mends::in_steps;

pub(crate) fn advice(resource: &Resource, before: &Facts, now: &Facts) -> Advice {
    match resource {
        // It starts, stops and resizes none itself.
        Resource::Instance { .. } => Advice::LookAt(format!(
            "{}; its environment in stepback.toml says which instances there are",
            Advice::look_at(resource)
        )),
        _ => in_steps("", resource, before, now),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn what_to_do_is_said_in_steps() {
        let volume = Resource::Volume { id: "vol-1".to_owned() };
        let at = |instance: &str, tags: Value| {
            let attachments = json!([{ "instance": instance, "device": "/dev/sdf" }]);
            Facts::from_json(json!({ "attachments": attachments, "tags": tags }))
        };
        let (before, now) = (at("i-a", json!({ "who": "Ann's" })), at("i-b", json!({})));
        let said = advice(&volume, &before, &now).to_string();
        let step = |at: u8, uses: &str, with: &str| {
            format!("{{ id = \"mend-{at}\", uses = \"ebs/{uses}\", with = {{ {with} }} }}")
        };
        let attach = r#"volume = "vol-1", instance = "i-a", device = "/dev/sdf""#;
        let steps = [
            step(1, "detach-volume", r#"volume = "vol-1", instance = "i-b""#),
            step(2, "attach-volume", attach),
            step(3, "tag-volume", r#"volume = "vol-1", key = "who", value = "Ann's""#),
        ];
        let wanted = format!("run a manifest with steps = [{}]", steps.join(", "));
        assert_eq!(said, wanted);
    }

    /// A step that starts, stops or resizes one would be refused.
    #[test]
    fn no_step_is_named_for_an_instance() {
        let instance = Resource::Instance { id: "i-1".to_owned() };
        let of = |zone: &str| Facts::from_json(json!({ "state": "running", "zone": zone }));
        let said = advice(&instance, &of("a"), &of("b"));
        assert!(matches!(&said, Advice::LookAt(text) if text.contains("stepback.toml")), "{said}");
    }
}
