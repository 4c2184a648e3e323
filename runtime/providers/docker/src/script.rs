//! What makes a container a helper: its labels, and the script that it runs.

use bollard::models::ContainerSummary;

/// The label of helper containers.
pub(super) const HELPER_LABEL: &str = "stepback.helper";
/// The label that holds the volume that a helper writes to.
pub(super) const WRITES_LABEL: &str = "stepback.helper.writes";

pub(super) const SCRIPT: &str = include_str!("helper.sh");

/// Whether a container is a helper: anybody can give one its label, but not by mistake its script;
/// and a helper has no volumes.
pub(super) fn is_helper(listed: &ContainerSummary) -> bool {
    let is_labelled = listed.labels.as_ref().is_some_and(|all| all.contains_key(HELPER_LABEL));
    let first = SCRIPT.lines().next().unwrap_or_default();
    is_labelled
        && listed.command.as_deref().is_some_and(|command| command.contains(first))
        && listed.mounts.iter().flatten().all(|mount| mount.name.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn a_label_alone_makes_no_helper() {
        let listed = |label: &str, command: &str| ContainerSummary {
            labels: Some(HashMap::from([(label.to_owned(), String::new())])),
            command: Some(command.to_owned()),
            ..ContainerSummary::default()
        };
        // As an engine lists it.
        let script = format!("sh -c '{SCRIPT}'");
        assert!(is_helper(&listed(HELPER_LABEL, &script)));
        assert!(!is_helper(&listed(HELPER_LABEL, "postgres")));
        assert!(!is_helper(&listed("other", &script)));
        assert!(SCRIPT.starts_with("# "), "its first line tells it");
    }
}
