//! A pool as its processes show it.
//!
//! Each process has its own servers, and its own word on them. What they do not agree on is neither
//! so nor otherwise.

use super::shapes::{NO_PORT, Slot};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use stepback_core::{Facts, Failure, InstanceId};
use stepback_provider::pools::{self, Health, Pool, Target};

/// Where a target is.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) host: InstanceId,
    pub(super) address: IpAddr,
    pub(super) port: u16,
}

/// The servers of each process, at one moment.
#[derive(Clone, Debug)]
pub(super) struct View(pub(super) Vec<Vec<Slot>>);

/// A target, by each process.
#[derive(Clone, Debug)]
pub(super) struct Seen(Vec<Target>);

impl View {
    /// How each process has a target.
    pub(super) fn of(&self, place: &Place) -> Seen {
        Seen(self.0.iter().map(|slots| seen(slots, place)).collect())
    }

    /// The servers that a target has in each process.
    pub(super) fn present(&self, place: &Place) -> impl Iterator<Item = &Slot> {
        let at_it = self.0.iter().flatten().filter(|slot| slot.is_at(place.address, place.port));
        at_it.filter(|slot| !slot.is_in_maintenance)
    }

    /// Whether so many others serve, by every process (`Pool::must_keep`).
    pub(super) fn must_keep(
        &self,
        pool: &str,
        place: &Place,
        floor: u32,
        hosts: &BTreeMap<InstanceId, IpAddr>,
    ) -> Result<(), Failure> {
        for slots in &self.0 {
            let one = View(vec![slots.clone()]);
            one.pool(pool, hosts).must_keep(&place.host, place.port, floor)?;
        }
        Ok(())
    }

    /// The pool with those of its targets that some process has.
    pub(super) fn pool(&self, name: &str, hosts: &BTreeMap<InstanceId, IpAddr>) -> Pool {
        let by_address: BTreeMap<IpAddr, &InstanceId> =
            hosts.iter().map(|(host, address)| (*address, host)).collect();
        let present = self.0.iter().flatten().filter(|slot| !slot.is_in_maintenance);
        let present = present.filter(|slot| slot.port > NO_PORT);
        let places: BTreeSet<(IpAddr, u16)> =
            present.filter_map(|slot| Some((slot.address?.to_canonical(), slot.port))).collect();
        let place = |(address, port): (IpAddr, u16)| {
            // Where no instance is, there is still a target.
            let host = by_address.get(&address).map(|host| (*host).clone());
            let host = host.unwrap_or_else(|| address.to_string().as_str().into());
            Place { host, address, port }
        };
        let targets = places.into_iter().map(|at| self.of(&place(at)).merged()).collect();
        Pool { name: name.to_owned(), targets, drain_delay_ms: None, linger_ms: 0 }
    }
}

fn seen(slots: &[Slot], place: &Place) -> Target {
    let at_it = slots.iter().filter(|slot| slot.is_at(place.address, place.port));
    let Some(slot) = at_it.min_by_key(|slot| slot.is_in_maintenance) else {
        return Target::absent(&place.host, place.port);
    };
    let present = !slot.is_in_maintenance;
    Target {
        host: place.host.clone(),
        port: place.port,
        present,
        enabled: slot.is_enabled(),
        weight: present.then_some(slot.weight),
        health: slot.health,
        reason: slot.reason.clone(),
        sessions: Some(slot.sessions),
    }
}

impl Seen {
    /// As one: it gets traffic if some process sends any, and is as healthy as the worst says.
    pub(super) fn merged(&self) -> Target {
        let rank = |one: &&Target| match one.health {
            Health::Healthy => 0,
            Health::Checking => 1,
            Health::Unused => 2,
            Health::Unhealthy => 3,
        };
        let Some(worst) = self.0.iter().max_by_key(rank) else {
            return Target::absent(&"".into(), 0);
        };
        let sessions = self.0.iter().filter_map(|one| one.sessions).fold(0, u32::saturating_add);
        let weight = worst.weight.filter(|_| self.agrees(|one| one.weight));
        Target {
            present: self.0.iter().all(|one| one.present),
            enabled: self.0.iter().any(|one| one.enabled),
            weight,
            sessions: Some(sessions),
            ..worst.clone()
        }
    }

    /// Whether all of them are as it is wanted.
    pub(super) fn are_all(&self, is_so: impl Fn(&Target) -> bool) -> bool {
        self.0.iter().all(is_so)
    }

    /// Whether one of them is.
    pub(super) fn is_any(&self, is_so: impl Fn(&Target) -> bool) -> bool {
        self.0.iter().any(is_so)
    }

    fn agrees<T: PartialEq>(&self, of: impl Fn(&Target) -> T) -> bool {
        self.0.iter().all(|one| self.0.first().is_some_and(|first| of(first) == of(one)))
    }

    /// The facts that count. One on which the processes differ is neither true nor false.
    pub(super) fn facts(&self) -> Facts {
        let all = self.0.len();
        let differ = |is_so: fn(&Target) -> bool| {
            let some = self.0.iter().filter(|one| is_so(one)).count();
            match some {
                0 => json!(false),
                some if some == all => json!(true),
                some => json!(format!("in {some} of {all} processes")),
            }
        };
        let mut facts = json!({
            "present": differ(|one| one.present),
            "enabled": differ(|one| one.enabled),
        });
        let weights: BTreeSet<u32> = self.0.iter().filter_map(|one| one.weight).collect();
        match weights.len() {
            0 => {}
            1 => facts["weight"] = json!(weights.first()),
            _ => facts["weight"] = json!(format!("{weights:?}")),
        }
        Facts::from_json(facts)
    }
}

/// That a target is one that some process has.
pub(super) fn must_be_there(seen: &Seen, pool: &str) -> Result<(), Failure> {
    match seen.are_all(|one| one.present) {
        true => Ok(()),
        false => Err(pools::not_registered(&seen.merged(), pool)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(name: &str, port: u16, is_drained: bool, health: Health) -> Slot {
        Slot {
            name: name.to_owned(),
            address: Some("10.0.0.1".parse().unwrap()),
            port,
            is_in_maintenance: port == 1,
            is_drained,
            is_checked: true,
            is_unwatched: false,
            weight: 1,
            is_kept: true,
            health,
            reason: None,
            sessions: 2,
            has_cookie: false,
        }
    }

    fn place(port: u16) -> Place {
        Place { host: "i-1".into(), address: "10.0.0.1".parse().unwrap(), port }
    }

    /// One process alone is no majority.
    #[test]
    fn what_processes_differ_in_is_neither_so_nor_otherwise() {
        let on = slot("a", 80, false, Health::Healthy);
        let drained = Slot { is_drained: true, weight: 3, ..on.clone() };
        let gone = slot("a", 1, false, Health::Unused);
        let facts = |slots: [&Slot; 2]| {
            View(slots.map(|one| vec![one.clone()]).to_vec()).of(&place(80)).facts()
        };
        let same = facts([&on, &on]);
        assert_eq!(
            (same.get("present"), same.get("weight")),
            (Some(&json!(true)), Some(&json!(1)))
        );
        let other = facts([&on, &drained]);
        assert_eq!(other.get("present"), Some(&json!(true)));
        assert_eq!(other.get("enabled"), Some(&json!("in 1 of 2 processes")));
        assert_eq!(other.get("weight"), Some(&json!("{1, 3}")));
        assert_eq!(facts([&on, &gone]).get("present"), Some(&json!("in 1 of 2 processes")));
        assert_eq!(facts([&gone, &gone]).get("weight"), None);
    }

    #[test]
    fn a_target_is_as_healthy_as_the_worst_of_its_processes_says() {
        let (up, down) = (slot("a", 80, true, Health::Healthy), Health::Unhealthy);
        let view = View(vec![vec![up.clone()], vec![Slot { health: down, ..up.clone() }]]);
        let target = view.of(&place(80)).merged();
        assert_eq!((target.health, target.sessions), (Health::Unhealthy, Some(4)));
        let on = Slot { is_drained: false, ..up.clone() };
        let target = View(vec![vec![up], vec![on]]).of(&place(80)).merged();
        assert!(target.enabled && target.present);
    }

    /// The floor is kept by each of them: each sends its own traffic.
    #[test]
    fn the_floor_is_that_of_every_process() {
        let (one, other) =
            (slot("a", 80, false, Health::Healthy), slot("b", 81, false, Health::Healthy));
        let down = Slot { health: Health::Unhealthy, ..other.clone() };
        let hosts = BTreeMap::from([("i-1".into(), "10.0.0.1".parse().unwrap())]);
        let up = View(vec![vec![one.clone(), other.clone()], vec![one.clone(), other.clone()]]);
        up.must_keep("web", &place(80), 1, &hosts).unwrap();
        let half = View(vec![vec![one.clone(), other], vec![one, down]]);
        let told = half.must_keep("web", &place(80), 1, &hosts).unwrap_err();
        assert!(told.message.contains("i-1:81"), "{}", told.message);
        assert_eq!(half.pool("web", &hosts).targets.len(), 2);
    }
}
