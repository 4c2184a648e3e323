//! How containers end: stops that go on whoever has asked for them is gone, removals that stop half
//! way, and what is lost with a container.

use super::connect::Engine;
use super::errors::{Answer, RequestError};
use super::shapes::{has_run, is_running};
use bollard::models::{ContainerInspectResponse, EventMessage};
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::StreamExt;
use serde_json::Value;
use std::time::Duration;
use stepback_core::FailureClass;

/// How often a container is looked at that is to end.
const LOOK_EVERY_MS: u64 = 100;
/// How much longer than its grace a stop takes, at most: the kill, and what the engine takes down.
const KILL_MS_MAX: u64 = 20_000;
/// An engine keeps so many of its last events (Docker docs, *docker system events*, *Limiting*).
const EVENTS_KEPT: usize = 256;
/// One that tells so many more has no end of them.
const EVENTS_MAX: usize = 40 * EVENTS_KEPT;
/// What the kernel ends a process by that did not end when it was told to.
const SIGKILL: &str = "9";

/// What is written beside a container's data and is worth nothing when it is gone.
const PASSING: [&str; 12] = [
    "/dev",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/mtab",
    "/etc/resolv.conf",
    "/proc",
    "/run",
    "/sys",
    "/tmp",
    "/var/cache",
    "/var/log",
    "/var/tmp",
];
const LOST_TOLD: usize = 5;

/// What an engine's events tell of a stop.
enum StopTold {
    Begun,
    NotBegun,
    /// They do not go back so far.
    Nothing,
}

impl Engine {
    /// What became of a stop whose answer was lost. An engine goes on with one that has begun: a
    /// container that still runs was told to end, or was not, and its events tell which.
    pub(super) async fn settle_stop(&self, name: &str, grace_ms: u64) -> Answer<Option<Value>> {
        let is_over = |found: &ContainerInspectResponse| !is_running(found);
        let Some(found) = self.find(name).await? else { return Ok(None) };
        if is_over(&found) {
            return Ok(Some(self.shown(&found).await?));
        }
        let told = self.told_to_end(&found).await?;
        if matches!(told, StopTold::NotBegun) {
            return Ok(None);
        }
        let limit = Duration::from_millis(grace_ms.saturating_add(KILL_MS_MAX));
        let until = self.clock.now().after(limit);
        while self.clock.now() < until {
            self.clock.sleep(Duration::from_millis(LOOK_EVERY_MS)).await;
            match self.find(name).await? {
                None => return Ok(None),
                Some(found) if is_over(&found) => return Ok(Some(self.shown(&found).await?)),
                Some(_) => {}
            }
        }
        match told {
            StopTold::Begun => {
                let what = self.name_of("container", name);
                Err(RequestError::unknown(format!("{what} was told to stop, and still runs")))
            }
            // By now it would have been killed.
            StopTold::NotBegun | StopTold::Nothing => Ok(None),
        }
    }

    /// Whether a container was sent the signal to end since it was started.
    async fn told_to_end(&self, found: &ContainerInspectResponse) -> Answer<StopTold> {
        let id = found.id.clone().unwrap_or_default();
        let signal = found.config.as_ref().and_then(|config| config.stop_signal.clone());
        let state = found.state.as_ref();
        let started = state.and_then(|state| state.started_at.as_deref());
        let started_s = started.and_then(seconds_of).unwrap_or_default();
        let all = self.events().await?;
        let kills = all.iter().filter(|event| {
            event.action.as_deref() == Some("kill")
                && event.actor.as_ref().and_then(|actor| actor.id.as_ref()) == Some(&id)
                && event.time.unwrap_or_default() >= started_s
        });
        let mut signals = kills
            .filter_map(|event| event.actor.as_ref()?.attributes.as_ref()?.get("signal").cloned());
        if signals.any(|sent| sent == SIGKILL || ends_by(&sent, signal.as_deref())) {
            return Ok(StopTold::Begun);
        }
        let oldest = all.first().and_then(|event| event.time).unwrap_or_default();
        match all.len() < EVENTS_KEPT || oldest < started_s {
            true => Ok(StopTold::NotBegun),
            false => Ok(StopTold::Nothing),
        }
    }

    /// The events that the engine still knows, oldest first, up to now by its own clock.
    async fn events(&self) -> Answer<Vec<EventMessage>> {
        let what = format!("the events of {}", self.host);
        let info = self.asked(&what, self.client.info()).await?;
        let now_s = info.system_time.as_deref().and_then(seconds_of).unwrap_or_default();
        let until = now_s.saturating_add(1).to_string();
        let options = EventsOptionsBuilder::new().since("1").until(&until).build();
        let (client, heard) = self.streaming(&what)?;
        let mut stream = Box::pin(client.events(Some(options)));
        let mut all = vec![];
        while let Some(event) = stream.next().await {
            all.push(event.map_err(|error| heard.told(error, &what))?);
            heard.taken();
            if all.len() > EVENTS_MAX {
                let why = format!("{what} are more than {EVENTS_MAX}, which are the most");
                return Err(RequestError::unknown(why));
            }
        }
        Ok(all)
    }

    /// What became of a removal; what could not be removed to its end can never be started again.
    pub(super) async fn settle_removal(&self, name: &str) -> Answer<Option<Value>> {
        let found = self.find(name).await?;
        match found.as_ref().and_then(|found| found.state.as_ref()) {
            Some(state) if state.dead == Some(true) => {
                let what = self.name_of("container", name);
                Err(RequestError::unknown(format!("{what} is dead: a part of it is removed")))
            }
            _ => Ok(found.is_none().then_some(Value::Null)),
        }
    }

    /// A container's own files go with it: data that somebody keeps there would be lost.
    pub(super) async fn must_keep_nothing(&self, found: &ContainerInspectResponse) -> Answer<()> {
        if !has_run(found) {
            return Ok(());
        }
        let name = super::shapes::name_of(found);
        let what = self.name_of("container", &name);
        let id = found.id.clone().unwrap_or_default();
        let changed = self.asked(&what, self.client.container_changes(&id)).await?;
        let paths: Vec<String> = changed.into_iter().flatten().map(|one| one.path).collect();
        let mounts = found.mounts.iter().flatten().filter_map(|one| one.destination.clone());
        let lost = kept_by_nobody(&paths, &mounts.collect::<Vec<_>>());
        if lost.is_empty() {
            return Ok(());
        }
        let more = lost.len().saturating_sub(LOST_TOLD);
        let told = lost.iter().take(LOST_TOLD).cloned().collect::<Vec<_>>().join(", ");
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let message = format!(
            "{what} has files of its own outside of its volumes, which go when it is removed \
             ({told}{more}): move them into a volume, or say `own_files = \"lost\"`"
        );
        Err(RequestError::no(FailureClass::Precondition, "own-files", message))
    }
}

/// Of the changed paths those that are no directories on the way to others, nor worth nothing.
fn kept_by_nobody(paths: &[String], mounts: &[String]) -> Vec<String> {
    let is_below = |path: &str, dir: &str| {
        path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let mut sorted = paths.to_vec();
    sorted.sort_unstable();
    let mut lost = vec![];
    for (at, path) in sorted.iter().enumerate() {
        let next = sorted.get(at + 1);
        let is_on_the_way = next.is_some_and(|next| next != path && is_below(next, path))
            || mounts.iter().any(|mount| is_below(mount, path));
        let path_run = path.strip_prefix("/var").unwrap_or(path);
        let passes = PASSING.iter().any(|dir| is_below(path, dir))
            || is_below(path_run, "/run")
            || is_below(path_run, "/lock")
            || mounts.iter().any(|mount| is_below(path, mount));
        let name = path.rsplit('/').next().unwrap_or_default();
        let is_habit = name.starts_with('.') && (name.ends_with("history") || name == ".lesshst")
            || name.ends_with(".pid")
            || name.ends_with(".lock")
            || path.contains("/__pycache__");
        if !is_on_the_way && !passes && !is_habit {
            lost.push(path.clone());
        }
    }
    lost
}

/// Whether this is the signal that a stop begins with; told by its number or its name.
fn ends_by(sent: &str, stop_signal: Option<&str>) -> bool {
    let number = |name: &str| -> Option<u32> {
        let name = name.trim_start_matches("SIG");
        let known = [("HUP", 1), ("INT", 2), ("QUIT", 3), ("USR1", 10), ("USR2", 12), ("TERM", 15)];
        let found = known.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
        found.or_else(|| name.parse().ok())
    };
    let wanted = stop_signal.filter(|signal| !signal.is_empty()).unwrap_or("SIGTERM");
    match (number(sent), number(wanted)) {
        (Some(sent), Some(wanted)) => sent == wanted,
        // A signal that is not known here, as SIGRTMIN+3 is: any may be it.
        _ => true,
    }
}

/// The whole seconds since 1970 of `2026-11-26T12:48:52.190120442Z`.
fn seconds_of(at: &str) -> Option<i64> {
    at.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_kept_nowhere_else_are_told() {
        let lost = |paths: &[&str], mounts: &[&str]| {
            let all =
                |texts: &[&str]| texts.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
            kept_by_nobody(&all(paths), &all(mounts)).join(" ")
        };
        let passing = ["/run", "/run/x.sock", "/tmp/a", "/var", "/var/run/p", "/root/.ash_history"];
        assert_eq!(lost(&passing, &[]), "");
        assert_eq!(lost(&["/var", "/var/lib", "/var/lib/data"], &["/var/lib/data"]), "");
        assert_eq!(lost(&["/data", "/data/rows"], &[]), "/data/rows");
        assert_eq!(lost(&["/data", "/data/rows"], &["/data"]), "");
        assert_eq!(lost(&["/data"], &["/database"]), "/data");
    }

    #[test]
    fn a_stop_begins_with_the_containers_own_signal() {
        for (sent, own, is_it) in [
            ("15", None, true),
            ("15", Some(""), true),
            ("1", None, false),
            ("2", Some("SIGINT"), true),
            ("15", Some("SIGINT"), false),
            ("37", Some("SIGRTMIN+3"), true),
        ] {
            assert_eq!(ends_by(sent, own), is_it, "{sent} {own:?}");
        }
        assert_eq!(seconds_of("1970-01-01T00:01:00.5Z"), Some(60));
    }
}
