//! A pool of a load balancer in the simulated world.

use super::is_default;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A pool, and what has become of its requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pool {
    /// Those that it has, by `HOST:PORT`.
    pub targets: BTreeMap<String, PoolTarget>,
    /// How many looks, 2 ms apart, must pass before the checks of what is new can tell anything.
    pub checks_looks: u32,
    /// How many looks the sessions of a target last after it is drained.
    pub session_looks: u32,
    /// Whether a listener sends anything to it: the targets of one that is not used never get
    /// healthy (Elastic Load Balancing, *Target health status*, `Target.NotInUse`).
    pub is_used: bool,
    /// Whether a target gets traffic as soon as it is added, and is gone as soon as it is drained,
    /// as with ELB (Elastic Load Balancing API Reference, *RegisterTargets*, *DeregisterTargets*).
    #[serde(skip_serializing_if = "is_default")]
    pub add_enables: bool,
    /// Those that are gone and still drain, by `HOST:PORT`: until when (Unix time).
    #[serde(skip_serializing_if = "is_default")]
    pub leaving: BTreeMap<String, u64>,
    /// What requests failed by, oldest first.
    #[serde(skip_serializing_if = "is_default")]
    pub lost: Vec<String>,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            targets: BTreeMap::new(),
            checks_looks: 2,
            session_looks: 1,
            is_used: true,
            add_enables: false,
            leaving: BTreeMap::new(),
            lost: vec![],
        }
    }
}

/// A target that a pool has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PoolTarget {
    /// Whether it gets traffic.
    pub enabled: bool,
    /// Its share of it.
    pub weight: u32,
    /// Unix time from which what is there now is checked.
    #[serde(skip_serializing_if = "is_default")]
    pub checked_from_ms: u64,
    /// Unix time at which it was drained, if it was.
    #[serde(skip_serializing_if = "is_default")]
    pub drained_at_ms: Option<u64>,
}

impl Default for PoolTarget {
    fn default() -> Self {
        Self { enabled: true, weight: 1, checked_from_ms: 0, drained_at_ms: None }
    }
}
