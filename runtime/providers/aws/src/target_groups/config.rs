//! Which target group a pool is.

/// How long a balancer may still send requests to a target that it has let go of, if nobody says
/// otherwise: its nodes hear of it one by one.
pub(super) const LINGER_MS: u64 = 30_000;

/// A target group that is a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetGroup {
    /// Its name or its ARN.
    pub group: String,
    /// How long, in milliseconds, requests may still come to a target that is drained.
    pub linger_ms: u64,
}

impl TargetGroup {
    /// One by its name or its ARN; a target that is drained is waited for 30 s more.
    pub fn of(group: &str) -> Self {
        Self { group: group.to_owned(), linger_ms: LINGER_MS }
    }

    /// Whether it is named by its ARN (AWS General Reference, *Amazon Resource Names*).
    pub(super) fn is_arn(&self) -> bool {
        self.group.starts_with("arn:")
    }
}
