//! Helpers that were left behind, by this program or by one that crashed, removed by the next one.

use super::connect::Engine;
use super::errors::Answer;
use super::helper::Helper;
use super::resident::LIFE_S;
use super::script::{HELPER_LABEL, WRITES_LABEL, is_helper};
use bollard::errors::Error;
use bollard::query_parameters::{ListContainersOptionsBuilder, RemoveContainerOptionsBuilder};
use futures_util::future::join_all;
use std::collections::HashMap;
use std::time::Duration;
use stepback_provider::locks::host;

/// What has ended for so long was left behind.
const LEFT_BEHIND_S: i64 = 3600;
/// The same where its runner is gone.
const ORPHAN_S: i64 = 30;
/// So long a removal is waited for; the next helper tries again.
const REMOVE_MS_MAX: u64 = 10_000;
/// So often it is asked for, so far apart: an engine may be busy with that very container.
const REMOVE_TRIES: u32 = 3;
const REMOVE_AGAIN_MS: u64 = 300;

impl Helper<'_> {
    /// Remove helpers that were left behind: what has ended long ago, and what should have. One
    /// that writes is never cut off.
    pub(super) async fn clear_away(&self) -> Answer<()> {
        let engine = self.engine;
        let filters = HashMap::from([("label", vec![HELPER_LABEL])]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let what = format!("the containers on {}", engine.host);
        let mut all = engine.asked(&what, engine.client.list_containers(Some(options))).await?;
        all.retain(is_helper);
        let now_s = i64::try_from(engine.clock.unix().0 / 1000).unwrap_or(i64::MAX);
        for helper in all {
            let state = helper.state.map(|state| state.to_string()).unwrap_or_default();
            let runs = !["exited", "dead", "created"].contains(&state.as_str());
            let labels = helper.labels.unwrap_or_default();
            let writes = labels.contains_key(WRITES_LABEL);
            let is_orphan = labels.get(HELPER_LABEL).is_some_and(|by| is_gone(by));
            if let (Some(id), Some(created)) = (helper.id, helper.created)
                && is_left_behind(now_s.saturating_sub(created), runs, writes, is_orphan)
            {
                let client = engine.client.clone();
                // The next one tries again; an engine that can't is waited for by nobody.
                tokio::spawn(async move {
                    let options = RemoveContainerOptionsBuilder::new().force(true).build();
                    let _ = client.remove_container(&id, Some(options)).await;
                });
            }
        }
        Ok(())
    }
}

impl Engine {
    /// Remove what this program made here and nobody needs any more.
    pub(super) async fn remove_leftovers(&self) {
        let all: Vec<(String, bool)> =
            self.leftovers.all().iter().map(|(name, by_force)| (name.clone(), *by_force)).collect();
        let limit = Duration::from_millis(REMOVE_MS_MAX);
        // Side by side: one that an engine can't end now keeps no other from being asked for.
        let removals = all.into_iter().map(|(name, by_force)| async move {
            if self.clock.timeout(limit, self.is_removed(&name, by_force)).await == Ok(true) {
                self.leftovers.all().remove(&name);
            }
        });
        join_all(removals).await;
    }

    async fn is_removed(&self, name: &str, by_force: bool) -> bool {
        for tried in 1..=REMOVE_TRIES {
            let options = RemoveContainerOptionsBuilder::new().force(by_force).v(true).build();
            match self.client.remove_container(name, Some(options)).await {
                // 404: it was not made, or is gone (Docker docs, *Engine API*, *ContainerDelete*).
                Ok(()) | Err(Error::DockerResponseServerError { status_code: 404, .. }) => {
                    return true;
                }
                Err(Error::DockerResponseServerError { .. }) if tried < REMOVE_TRIES => {
                    self.clock.sleep(Duration::from_millis(REMOVE_AGAIN_MS)).await;
                }
                // An engine that is down has nobody to remove it; the next helper tries again.
                Err(_) => return false,
            }
        }
        false
    }
}

/// Whether nobody will remove a helper of that age any more.
fn is_left_behind(age_s: i64, runs: bool, writes: bool, is_orphan: bool) -> bool {
    match (runs, is_orphan) {
        (true, _) => !writes && age_s > LIFE_S + LEFT_BEHIND_S,
        (false, true) => age_s > ORPHAN_S,
        (false, false) => age_s > LEFT_BEHIND_S,
    }
}

/// Whether the program that ran a helper, as its label says, was of this machine and is gone.
fn is_gone(run_by: &str) -> bool {
    let host = host();
    let is_here = run_by.split(['@', ' ', ',']).any(|word| word == host);
    let process = run_by.rsplit_once(", process ").and_then(|(_, id)| id.parse::<u32>().ok());
    is_here && process.is_some_and(|id| !std::path::Path::new(&format!("/proc/{id}")).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_will_remove_is_told_by_its_age() {
        let (half, minute, hour, day) = (30, 60, 3_600, 86_400);
        let table = [
            // An orphan that does not run: its program can't be about to start it.
            (half, false, false, true, false),
            (half + 1, false, false, true, true),
            (half + 1, false, true, true, true),
            // One whose program may live.
            (minute + 1, false, false, false, false),
            (hour + 1, false, false, false, true),
            // One that runs ends by itself, unless its engine lost it; one that writes is let be.
            (hour + 1, true, false, true, false),
            (day, true, false, false, true),
            (day, true, true, true, false),
        ];
        for (age_s, runs, writes, is_orphan, wanted) in table {
            let found = is_left_behind(age_s, runs, writes, is_orphan);
            assert_eq!(found, wanted, "{age_s} {runs} {writes} {is_orphan}");
        }
    }

    #[test]
    fn only_what_a_program_of_this_machine_ran_may_be_an_orphan() {
        let by = |host: &str, id: u32| format!("ann@{host} (uid 0), process {id}");
        assert!(is_gone(&by(&host(), u32::MAX)));
        assert!(!is_gone(&by(&host(), std::process::id())));
        assert!(!is_gone(&by("another-host", u32::MAX)));
        assert!(!is_gone("somebody"));
    }
}
