//! What Elastic Load Balancing shows of a target group, as plain values, and how its targets are
//! told in the contract's words.

use super::Pool;
use aws_sdk_elasticloadbalancingv2::types;
use stepback_core::{Failure, FailureClass, InstanceId};
use stepback_provider::pools::{self, Health, Target};

/// The code of a target group that no load balancer uses.
const NOT_IN_USE: &str = "Target.NotInUse";

/// How a target is known to its group (Elastic Load Balancing API Reference, *TargetDescription*).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// By the id of its instance.
    Instance,
    /// By its address.
    Ip,
}

impl Kind {
    pub(super) fn in_words(self) -> &'static str {
        match self {
            Self::Instance => "instances",
            Self::Ip => "addresses",
        }
    }
}

/// A target group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) arn: String,
    pub(super) name: String,
    pub(super) kind: Kind,
    /// How many load balancers use it.
    pub(super) balancers: usize,
}

impl Group {
    /// Of a pool, as *DescribeTargetGroups* shows it.
    ///
    /// # Errors
    /// Its targets are functions, or other load balancers: no place on a host.
    pub(super) fn of(pool: &Pool, found: types::TargetGroup) -> Result<Self, Failure> {
        let name = found.target_group_name.unwrap_or_default();
        let kind = match &found.target_type {
            Some(types::TargetTypeEnum::Instance) => Kind::Instance,
            Some(types::TargetTypeEnum::Ip) => Kind::Ip,
            other => {
                let is = other.as_ref().map_or("none", types::TargetTypeEnum::as_str);
                let message = format!(
                    "target group `{name}` of pool `{}` has targets of type `{is}`: a pool's are \
                     of type `instance` or `ip`",
                    pool.name
                );
                let failure = Failure::new(FailureClass::Precondition, message);
                return Err(failure.with_code("wrong-target-type"));
            }
        };
        let balancers = found.load_balancer_arns.unwrap_or_default().len();
        Ok(Self { arn: found.target_group_arn.unwrap_or_default(), name, kind, balancers })
    }

    pub(super) fn is_used(&self) -> bool {
        self.balancers > 0
    }
}

/// Why nothing is added to a target group: no check is ever made there.
pub(super) fn not_in_use(pool: &Pool, group: &Group) -> Failure {
    let message = format!(
        "no listener uses target group `{}` of pool `{}`, which is of {}: its targets never get \
         healthy",
        group.name,
        pool.name,
        group.kind.in_words()
    );
    Failure::new(FailureClass::Precondition, message).with_code(NOT_IN_USE)
}

/// Where a target is, and what its group calls it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) host: InstanceId,
    /// The instance's id, or its address.
    pub(super) id: String,
    pub(super) port: u16,
}

/// How a target is to its group (Application Load Balancers User Guide, *Health checks for your
/// target groups*: *Target health status*).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Registered(Health, Option<String>),
    /// Registered, and sent nothing: no listener uses its group, or its zone, or its instance does
    /// not run.
    Idle(Option<String>),
    /// Deregistered, and those who are served by it have their delay.
    Draining(Option<String>),
    Gone,
}

/// A target as *DescribeTargetHealth* shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) place: Place,
    pub(super) standing: Standing,
}

impl Standing {
    /// As a state and its reason say it; a state that is new here is none that serves.
    pub(super) fn of(found: Option<types::TargetHealth>) -> Self {
        use types::TargetHealthStateEnum as State;
        let code = found.as_ref().and_then(|one| one.reason.as_ref()).map(|one| one.as_str());
        let reason = found.as_ref().and_then(|one| in_words(code, one.description.as_deref()));
        let state = found.as_ref().and_then(|one| one.state.as_ref());
        match state {
            Some(State::Initial) => Self::Registered(Health::Checking, reason),
            Some(State::Healthy) => Self::Registered(Health::Healthy, None),
            // Its connections go on, and it gets no others; it may recover (Network Load Balancers
            // User Guide, *Target health status*).
            Some(State::UnhealthyDraining | State::Unhealthy) => {
                Self::Registered(Health::Unhealthy, reason)
            }
            // It is not checked, and sent requests all the same.
            Some(State::Unavailable) => Self::Registered(Health::Unused, reason),
            Some(State::Draining) => Self::Draining(reason),
            Some(State::Unused) if code == Some("Target.NotRegistered") => Self::Gone,
            Some(State::Unused) => Self::Idle(reason),
            Some(other) => {
                let told = Some(format!("its state is `{}`", other.as_str()));
                Self::Registered(Health::Unhealthy, reason.or(told))
            }
            None => Self::Registered(Health::Unhealthy, Some("it has no state".to_owned())),
        }
    }
}

/// A reason code with its description.
fn in_words(code: Option<&str>, description: Option<&str>) -> Option<String> {
    match (code, description.map(|text| text.trim_end_matches('.'))) {
        (Some(code), Some(description)) => Some(format!("{description} ({code})")),
        (Some(alone), None) | (None, Some(alone)) => Some(alone.to_owned()),
        (None, None) => None,
    }
}

impl Seen {
    /// Whether its group has it.
    pub(super) fn is_registered(&self) -> bool {
        match &self.standing {
            Standing::Registered(..) | Standing::Idle(_) => true,
            Standing::Draining(_) | Standing::Gone => false,
        }
    }

    /// In the contract's words. Who is served by it no balancer tells; while it drains somebody may
    /// be.
    pub(super) fn target(&self) -> Target {
        let absent = Target::absent(&self.place.host, self.place.port);
        let registered = |health, reason: &Option<String>| Target {
            present: true,
            enabled: true,
            health,
            reason: reason.clone(),
            ..absent.clone()
        };
        match &self.standing {
            Standing::Registered(health, reason) => registered(*health, reason),
            Standing::Idle(reason) => registered(Health::Unused, reason),
            Standing::Draining(reason) => {
                let why = reason.as_deref().unwrap_or("its delay is not over");
                let reason = Some(format!("it drains: {why}"));
                Target { reason, sessions: Some(1), ..absent }
            }
            Standing::Gone => Target { sessions: Some(0), ..absent },
        }
    }
}

/// A target group with its targets, those that drain too, at one moment.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) group: Group,
    pub(super) targets: Vec<Seen>,
}

impl View {
    pub(super) fn of(&self, place: &Place) -> Seen {
        let is_it = |one: &&Seen| one.place.id == place.id && one.place.port == place.port;
        let found = self.targets.iter().find(is_it);
        let standing = found.map_or(Standing::Gone, |one| one.standing.clone());
        Seen { place: place.clone(), standing }
    }

    pub(super) fn registered(&self) -> impl Iterator<Item = &Seen> {
        self.targets.iter().filter(|one| one.is_registered())
    }

    /// The pool with those of its targets that are registered.
    pub(super) fn pool(&self, pool: &Pool, drain_delay_ms: Option<u64>) -> pools::Pool {
        pools::Pool {
            name: pool.name.clone(),
            targets: self.registered().map(Seen::target).collect(),
            drain_delay_ms,
            linger_ms: pool.config.linger_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TargetGroup;

    fn pool() -> Pool {
        Pool { name: "web".to_owned(), config: TargetGroup::of("web-blue") }
    }

    fn standing(state: &str, reason: Option<&str>) -> Standing {
        let health =
            types::TargetHealth::builder().state(types::TargetHealthStateEnum::from(state));
        let health = health.set_reason(reason.map(types::TargetHealthReasonEnum::from));
        let description = reason.map(|_| "so it is.".to_owned());
        Standing::of(Some(health.set_description(description).build()))
    }

    /// Every state that the user guides know, and one that they may come to know.
    #[test]
    fn a_state_is_told_with_its_reason_in_words() {
        let registered = |health, reason: &str| Standing::Registered(health, Some(reason.into()));
        let words = "so it is (Target.Timeout)";
        for (state, reason, wanted) in [
            (
                "initial",
                Some("Elb.InitialHealthChecking"),
                registered(Health::Checking, "so it is (Elb.InitialHealthChecking)"),
            ),
            ("healthy", None, Standing::Registered(Health::Healthy, None)),
            ("unhealthy", Some("Target.Timeout"), registered(Health::Unhealthy, words)),
            ("unhealthy.draining", Some("Target.Timeout"), registered(Health::Unhealthy, words)),
            ("unavailable", Some("Target.Timeout"), registered(Health::Unused, words)),
            (
                "unused",
                Some(NOT_IN_USE),
                Standing::Idle(Some("so it is (Target.NotInUse)".to_owned())),
            ),
            ("unused", Some("Target.NotRegistered"), Standing::Gone),
            (
                "draining",
                Some("Target.DeregistrationInProgress"),
                Standing::Draining(Some("so it is (Target.DeregistrationInProgress)".to_owned())),
            ),
            ("resting", None, registered(Health::Unhealthy, "its state is `resting`")),
        ] {
            assert_eq!(standing(state, reason), wanted, "{state}");
        }
        assert!(!matches!(Standing::of(None), Standing::Registered(Health::Healthy, _)));
    }

    #[test]
    fn what_drains_is_not_present_and_may_serve_somebody() {
        let place = Place { host: "i-1".into(), id: "10.0.0.1".to_owned(), port: 80 };
        let of = |standing| Seen { place: place.clone(), standing }.target();
        let drains = of(Standing::Draining(None));
        assert!(!drains.present && !drains.enabled);
        assert_eq!((drains.sessions, drains.name().as_str()), (Some(1), "i-1:80"));
        assert_eq!(of(Standing::Gone).sessions, Some(0));
        let up = of(Standing::Registered(Health::Healthy, None));
        assert!(up.serves() && up.weight.is_none() && up.sessions.is_none());
    }

    #[test]
    fn a_pool_is_of_those_that_are_registered() {
        let at = |id: &str, port| Place { host: id.into(), id: id.to_owned(), port };
        let seen = |place: &Place, standing| Seen { place: place.clone(), standing };
        let (one, other) = (at("i-1", 80), at("i-1", 81));
        let up = Standing::Registered(Health::Healthy, None);
        let arn = "arn".to_owned();
        let group = Group { arn, name: "g".to_owned(), kind: Kind::Instance, balancers: 1 };
        let targets = vec![seen(&one, up.clone()), seen(&other, Standing::Draining(None))];
        let view = View { group, targets };
        assert_eq!(view.of(&one).standing, up);
        assert_eq!(view.of(&other).standing, Standing::Draining(None));
        assert_eq!(view.of(&at("i-2", 80)).standing, Standing::Gone);
        let shown = view.pool(&pool(), Some(5));
        let names: Vec<String> = shown.targets.iter().map(Target::name).collect();
        assert_eq!(names, ["i-1:80"]);
        assert_eq!((shown.drain_delay_ms, shown.linger_ms), (Some(5), 30_000));
    }

    #[test]
    fn a_group_of_functions_or_balancers_is_no_pool() {
        let of = |kind: &str| {
            let found = types::TargetGroup::builder().target_group_name("g");
            let kind = types::TargetTypeEnum::from(kind);
            Group::of(&pool(), found.target_type(kind).build())
        };
        assert_eq!(of("instance").map(|group| group.kind), Ok(Kind::Instance));
        assert_eq!(of("ip").map(|group| group.kind), Ok(Kind::Ip));
        for kind in ["lambda", "alb", "moon"] {
            let failure = of(kind).expect_err(kind);
            assert_eq!(failure.code.as_deref(), Some("wrong-target-type"));
            assert!(failure.message.contains(&format!("`{kind}`")), "{failure}");
        }
    }
}
