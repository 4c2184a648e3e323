//! Which network a container is on, told by its name: an id means the same to an engine, and may be
//! that of its host's network.

use super::connect::Engine;
use super::errors::Answer;
use bollard::models::{ContainerInspectResponse, EndpointSettings};
use bollard::query_parameters::InspectNetworkOptions;
use std::collections::HashMap;

/// The modes in which a container has no network of its own choice.
pub(super) const OWN_NETWORKS: [&str; 4] = ["bridge", "default", "host", "none"];

impl Engine {
    /// The same container, with its network by name.
    ///
    /// # Errors
    /// The engine does not say what an id is the id of.
    pub(super) async fn with_named_network(
        &self,
        mut found: ContainerInspectResponse,
    ) -> Answer<ContainerInspectResponse> {
        let networks = found.network_settings.as_ref().and_then(|set| set.networks.as_ref());
        let Some(host) = found.host_config.as_mut() else { return Ok(found) };
        let none = HashMap::new();
        host.network_mode = network_mode(host.network_mode.take(), networks.unwrap_or(&none));
        if let Some(mode) = host.network_mode.as_mut().filter(|mode| may_be_id(mode)) {
            let what = self.name_of("network", mode);
            let asked = self.client.inspect_network(mode, None::<InspectNetworkOptions>);
            match self.looked(&what, asked).await {
                Ok(network) => *mode = network.name.unwrap_or_else(|| mode.clone()),
                // One that is gone is on nobody's.
                Err(told) if told.is_missing() => {}
                Err(told) => return Err(told),
            }
        }
        Ok(found)
    }
}

/// Whether an engine takes it for an id, or the beginning of one (Docker docs, *Container
/// identification*).
fn may_be_id(mode: &str) -> bool {
    !mode.is_empty() && mode.chars().all(|c| c.is_ascii_hexdigit())
}

/// The network it is on, by its name: a mode may hold one that it was taken off, or an id, which is
/// another on every host.
pub(super) fn network_mode(
    mode: Option<String>,
    networks: &HashMap<String, EndpointSettings>,
) -> Option<String> {
    let chosen = mode.as_deref().unwrap_or("default");
    let is_kept = OWN_NETWORKS.contains(&chosen)
        || chosen.starts_with("container:")
        || networks.contains_key(chosen);
    if is_kept {
        return mode;
    }
    let is_it = |endpoint: &EndpointSettings| {
        endpoint.network_id.as_ref().is_some_and(|id| id.starts_with(chosen))
    };
    let by_id = networks.iter().find(|(_, endpoint)| is_it(endpoint)).map(|(name, _)| name);
    by_id.or(networks.keys().min()).cloned().or(mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_told_by_its_name() {
        let on = |id: &str| EndpointSettings {
            network_id: Some(id.to_owned()),
            ..EndpointSettings::default()
        };
        let networks: HashMap<_, _> = [("lan", "ab12cd"), ("host", "3f3f3f"), ("wide", "ff00ff")]
            .map(|(name, id)| (name.to_owned(), on(id)))
            .into();
        let of = |mode: &str| network_mode(Some(mode.to_owned()), &networks);
        for (mode, wanted) in [
            ("lan", "lan"),
            ("ab12cd", "lan"),
            ("3f3f3f", "host"),
            ("3f3", "host"),
            ("none", "none"),
            ("container:ab12cd", "container:ab12cd"),
            ("gone", "host"),
        ] {
            assert_eq!(of(mode).as_deref(), Some(wanted), "{mode}");
        }
        assert_eq!(network_mode(None, &networks), None);
        // One that never ran does not tell the id yet.
        let created: HashMap<_, _> = [("host".to_owned(), on(""))].into();
        assert_eq!(network_mode(Some("3f3f3f".into()), &created).as_deref(), Some("host"));
        assert!(may_be_id("3f3f3f") && !may_be_id("lan") && !may_be_id(""));
    }
}
