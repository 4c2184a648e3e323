//! Pools that are target groups: what only they have, and what moto does not do but ELB does.

use crate::balancers::Balancer;
use crate::bench::*;
use crate::moto::Moto;
use crate::proxy::{Fault, Proxy, sts_error};
use async_trait::async_trait;
use aws_sdk_elasticloadbalancingv2::types::TargetTypeEnum;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use stepback_aws::{TargetGroup, TargetGroups};
use stepback_core::calls::{LoadBalancerCall, OnTimeout};
use stepback_core::step::EffectOutcome;
use stepback_core::*;
use stepback_provider::addresses::Addresses;
use stepback_provider::inventory::Inventory;
use stepback_provider::{Provider, Settled};

const PORT: u16 = 8080;
const LINGER_MS: u64 = 300;
const REGISTER: &str = "RegisterTargets";
const DEREGISTER: &str = "DeregisterTargets";
const HEALTH: &str = "DescribeTargetHealth";

/// Two instances with addresses.
struct Two;

#[async_trait]
impl Addresses for Two {
    async fn all(&self) -> Result<BTreeMap<InstanceId, IpAddr>, Failure> {
        let at = |last: u8| IpAddr::from([10, 0, 0, last]);
        Ok(BTreeMap::from([("i-1".into(), at(1)), ("i-2".into(), at(2))]))
    }
}

/// The pool `web`, a used target group of its own, with a proxy before moto.
struct Set {
    provider: TargetGroups,
    proxy: Proxy,
    balancer: Balancer,
    group: String,
    arn: String,
    _moto: Arc<Moto>,
}

impl Set {
    async fn of(kind: TargetTypeEnum) -> Self {
        Self::of_account(kind, None).await
    }

    async fn of_account(kind: TargetTypeEnum, account: Option<&str>) -> Self {
        let moto = Moto::shared();
        let proxy = Proxy::to(moto.address);
        let balancer =
            Balancer::start(&format!("http://{}", moto.address), &sdk("us-east-1")).await;
        let (group, arn) = balancer.used(kind).await;
        let provider = provider(&proxy, account, &group).await;
        Self { provider, proxy, balancer, group, arn, _moto: moto }
    }

    async fn done(&self, call: Call) -> Value {
        done(&self.provider, &call).await
    }

    async fn refused(&self, call: Call) -> Failure {
        match self.provider.perform(&call, &context()).await {
            EffectOutcome::Refused(failure) => {
                assert_keeps_secrets(&failure);
                failure
            }
            other => panic!("{} was not refused: {other:?}", call.function()),
        }
    }

    /// How often a target was registered and deregistered.
    fn sent(&self) -> (usize, usize) {
        (self.proxy.seen(REGISTER).len(), self.proxy.seen(DEREGISTER).len())
    }

    async fn facts(&self, host: &str) -> Facts {
        let (pool, host) = ("web".to_owned(), host.to_owned());
        let target = Resource::PoolTarget { pool, host, port: PORT };
        self.provider.observe(&target).await.expect("facts")
    }
}

async fn provider(proxy: &Proxy, account: Option<&str>, group: &str) -> TargetGroups {
    let aws = Arc::new(aws_at(&format!("http://{}", proxy.address), account).await);
    let config = TargetGroup { linger_ms: LINGER_MS, ..TargetGroup::of(group) };
    TargetGroups::new(aws, BTreeMap::from([("web".to_owned(), config)]), Arc::new(Two))
}

fn facts(is_on: bool) -> Facts {
    Facts::from_json(serde_json::json!({ "present": is_on, "enabled": is_on }))
}

fn describe() -> Call {
    LoadBalancerCall::DescribePool { pool: "web".into() }.into()
}

fn add(host: &str) -> Call {
    weighing(host, None)
}

fn weighing(host: &str, weight: Option<u32>) -> Call {
    let (pool, host, container) = ("web".into(), host.into(), None);
    LoadBalancerCall::Add { pool, host, port: PORT, container, weight, floor: 0 }.into()
}

fn enable(host: &str) -> Call {
    let (pool, host, container) = ("web".into(), host.into(), None);
    LoadBalancerCall::Enable { pool, host, port: PORT, container, floor: 0 }.into()
}

fn drain(host: &str, floor: u32) -> Call {
    let (pool, host, container) = ("web".into(), host.into(), None);
    LoadBalancerCall::Drain { pool, host, port: PORT, container, floor }.into()
}

fn remove(host: &str, floor: u32) -> Call {
    let (pool, host, container) = ("web".into(), host.into(), None);
    LoadBalancerCall::Remove { pool, host, port: PORT, container, floor }.into()
}

fn wait_healthy(host: &str, timeout_ms: u64, on_timeout: OnTimeout) -> Call {
    let (pool, host) = ("web".into(), host.into());
    LoadBalancerCall::WaitHealthy { pool, host, port: PORT, timeout_ms, on_timeout }.into()
}

fn wait_drained(host: &str, timeout_ms: u64, on_timeout: OnTimeout) -> Call {
    let (pool, host) = ("web".into(), host.into());
    LoadBalancerCall::WaitDrained { pool, host, port: PORT, timeout_ms, on_timeout }.into()
}

/// What *DescribeTargetHealth* answers of some targets, each with its state and reason.
fn health(targets: &[(&str, &str, &str)]) -> Fault {
    let one = |(id, state, reason): &(&str, &str, &str)| {
        let reason = match *reason {
            "" => String::new(),
            reason => format!("<Reason>{reason}</Reason><Description>So it is.</Description>"),
        };
        format!(
            "<member><Target><Id>{id}</Id><Port>{PORT}</Port></Target>\
             <TargetHealth><State>{state}</State>{reason}</TargetHealth></member>"
        )
    };
    let all: String = targets.iter().map(one).collect();
    let result = format!("<TargetHealthDescriptions>{all}</TargetHealthDescriptions>");
    let result = format!("<{HEALTH}Result>{result}</{HEALTH}Result>");
    Fault::Answer(200, format!("<{HEALTH}Response>{result}</{HEALTH}Response>"))
}

const DRAINS: &str = "Target.DeregistrationInProgress";

#[tokio::test]
async fn a_group_is_found_by_its_name_and_by_its_arn() {
    let set = Set::of(TargetTypeEnum::Instance).await;
    set.done(add("i-1")).await;
    set.balancer.set_delay(&set.arn, 20).await;
    let by_name = set.provider.read(&describe()).await.expect("a pool");
    let other = provider(&set.proxy, None, &set.arn).await;
    assert_eq!(other.read(&describe()).await.expect("a pool"), by_name);
    assert_eq!((&by_name["drain_delay_ms"], &by_name["linger_ms"]), (&20_000.into(), &300.into()));
    let shown = &by_name["targets"][0];
    assert_eq!((&shown["host"], &shown["port"]), (&"i-1".into(), &PORT.into()));
    assert_eq!((&shown["health"], &shown["weight"]), (&"healthy".into(), &Value::Null));
    let none = provider(&set.proxy, None, "nowhere").await;
    let failure = none.read(&describe()).await.expect_err("there is none");
    assert_eq!(failure.class, FailureClass::Precondition, "{failure}");
    assert_eq!(failure.code.as_deref(), Some("TargetGroupNotFound"));
    assert!(failure.message.contains("`nowhere`"), "{failure}");
    let failure = none.may(&drain("i-1", 0)).await.expect_err("there is none");
    assert_eq!(failure.code.as_deref(), Some("TargetGroupNotFound"));
    let told = |one: &TargetGroups| one.advice(&set_target(), &facts(true), &facts(false));
    assert!(told(&set.provider).to_string().contains(&format!("--names {} ", set.group)));
    assert!(told(&other).to_string().contains(&set.arn));
}

fn set_target() -> Resource {
    Resource::PoolTarget { pool: "web".to_owned(), host: "i-1".to_owned(), port: PORT }
}

/// Each of two effects finds its fact already so where the other one made it, and asks for nothing.
#[tokio::test]
async fn what_is_so_already_is_done_without_a_request() {
    let set = Set::of(TargetTypeEnum::Instance).await;
    assert_eq!(set.facts("i-1").await, facts(false));
    for call in [drain("i-1", 9), remove("i-1", 9)] {
        set.done(call).await;
    }
    assert_eq!(set.sent(), (0, 0));
    for call in [add("i-1"), enable("i-1"), add("i-1")] {
        let answer = set.done(call).await;
        assert_eq!((&answer["present"], &answer["enabled"]), (&true.into(), &true.into()));
    }
    assert_eq!(set.facts("i-1").await, facts(true));
    assert_eq!(set.sent(), (1, 0));
    for call in [remove("i-1", 0), drain("i-1", 0)] {
        let answer = set.done(call).await;
        assert_eq!((&answer["present"], &answer["enabled"]), (&false.into(), &false.into()));
    }
    assert_eq!(set.facts("i-1").await, facts(false));
    assert_eq!(set.sent(), (1, 1));
}

#[tokio::test]
async fn a_target_is_an_instance_or_its_address() {
    for (kind, id) in [(TargetTypeEnum::Instance, "i-2"), (TargetTypeEnum::Ip, "10.0.0.2")] {
        let set = Set::of(kind.clone()).await;
        let answer = set.done(add("i-2")).await;
        assert_eq!(answer["host"], "i-2", "{kind}");
        set.done(drain("i-2", 0)).await;
        for action in [REGISTER, DEREGISTER] {
            let (wanted, port) = (format!("Targets.member.1.Id={id}"), format!("Port={PORT}"));
            let body = set.proxy.seen(action).remove(0);
            assert!(body.contains(&wanted) && body.contains(&port), "{action}: {body}");
        }
    }
    let set = Set::of(TargetTypeEnum::Ip).await;
    let failure = set.refused(add("i-9")).await;
    assert_eq!(failure.code.as_deref(), Some("no-address"), "{failure}");
    // What is not the environment's is shown by its address.
    set.balancer.register(&set.arn, "10.0.0.77", PORT).await;
    let shown = set.provider.read(&describe()).await.expect("a pool");
    assert_eq!(shown["targets"][0]["host"], "10.0.0.77");
    set.done(add("i-1")).await;
    let mut found = Inventory::default();
    set.provider.import(&mut found).await.expect("it is read");
    let pool = &found.pools["web"];
    assert!(pool.add_enables && pool.is_used, "{pool:?}");
    assert_eq!(pool.targets.keys().collect::<Vec<_>>(), [&format!("i-1:{PORT}")]);
    assert!(found.left_out[0].contains("10.0.0.77"), "{:?}", found.left_out);
}

#[tokio::test]
async fn a_group_of_another_type_is_no_pool() {
    let set = Set::of(TargetTypeEnum::Instance).await;
    let (name, _) = set.balancer.unused(TargetTypeEnum::Lambda).await;
    let provider = provider(&set.proxy, None, &name).await;
    let failure = provider.read(&describe()).await.expect_err("its targets are functions");
    assert_eq!(failure.code.as_deref(), Some("wrong-target-type"), "{failure}");
    assert!(failure.message.contains("`lambda`"), "{failure}");
    let failure = provider.may(&drain("i-1", 0)).await.expect_err("the same");
    assert_eq!(failure.code.as_deref(), Some("wrong-target-type"));
}

/// What takes a target out is let through: that is a way out, too.
#[tokio::test]
async fn nothing_is_added_where_no_listener_sends_requests() {
    let set = Set::of(TargetTypeEnum::Instance).await;
    let (name, _) = set.balancer.unused(TargetTypeEnum::Instance).await;
    let unused = provider(&set.proxy, None, &name).await;
    for call in [add("i-1"), wait_healthy("i-1", 1_000, OnTimeout::GoOn)] {
        set.provider.may(&call).await.expect("a listener uses it");
        let failure = unused.may(&call).await.expect_err(call.function());
        assert_eq!(failure.class, FailureClass::Precondition);
        assert_eq!(failure.code.as_deref(), Some("Target.NotInUse"), "{failure}");
    }
    for call in [enable("i-1"), drain("i-1", 0), remove("i-1", 0)] {
        unused.may(&call).await.unwrap_or_else(|failure| panic!("{failure}"));
    }
    let told = set.provider.check().await.remove(0);
    let text = told.found.expect("it is used");
    for part in [&*set.group, "of instances", "use it: 1", "goes on for 5m", "lingers for 300ms"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let told = unused.check().await.remove(0);
    assert_eq!(told.what, "pool `web`");
    assert_eq!(told.found.expect_err("unused").code.as_deref(), Some("Target.NotInUse"));
}

/// One that is only being checked keeps nothing up.
#[tokio::test]
async fn the_floor_is_kept_by_those_that_are_healthy() {
    let set = Set::of(TargetTypeEnum::Ip).await;
    for host in ["i-1", "i-2"] {
        set.done(add(host)).await;
    }
    for call in [drain("i-1", 1), remove("i-1", 1)] {
        for (state, reason) in [
            ("initial", "Elb.InitialHealthChecking"),
            ("unhealthy", "Target.Timeout"),
            ("unavailable", "Target.HealthCheckDisabled"),
            ("unused", "Target.NotInUse"),
            ("draining", DRAINS),
        ] {
            let told = [("10.0.0.1", "healthy", ""), ("10.0.0.2", state, reason)];
            set.proxy.on(HEALTH, 1, health(&told));
            let failure = set.refused(call.clone()).await;
            let found = (failure.class, failure.code.as_deref());
            assert_eq!(found, (FailureClass::Transient, Some("below-floor")), "{state}: {failure}");
            let is_told = failure.message.contains(&format!("So it is ({reason})"));
            assert_eq!(is_told, state != "draining", "{failure}");
        }
    }
    // Who is not checked may serve somebody.
    let told = [("10.0.0.1", "unavailable", "Target.HealthCheckDisabled")];
    set.proxy.on(HEALTH, 1, health(&told));
    assert_eq!(set.refused(drain("i-1", 1)).await.code.as_deref(), Some("below-floor"));
    assert_eq!(set.sent().1, 0, "nothing was asked for");
    let failure = set.refused(drain("i-1", 2)).await;
    assert_eq!(failure.code.as_deref(), Some("below-floor"));
    set.done(drain("i-1", 1)).await;
    let failure = set.refused(remove("i-2", 1)).await;
    assert_eq!(failure.code.as_deref(), Some("below-floor"));
    // A target of an instance that does not run takes nothing away.
    set.proxy.on(HEALTH, 1, health(&[("10.0.0.2", "unused", "Target.InvalidState")]));
    set.done(remove("i-2", 1)).await;
}

#[tokio::test]
async fn a_weight_is_refused_before_and_when_it_is_asked_for() {
    let set = Set::of(TargetTypeEnum::Instance).await;
    let weighed = weighing("i-1", Some(1));
    let failure = set.provider.may(&weighed).await.expect_err("it has none");
    assert_eq!(failure.class, FailureClass::InvalidInput, "{failure}");
    assert_eq!(set.refused(weighed).await.class, FailureClass::InvalidInput);
    assert_eq!(set.sent(), (0, 0));
}

/// An address waits for its delay; an instance comes back at once.
#[tokio::test]
async fn an_address_that_drains_is_not_registered_again() {
    let set = Set::of(TargetTypeEnum::Ip).await;
    for call in [add("i-1"), enable("i-1")] {
        set.proxy.on(HEALTH, 1, health(&[("10.0.0.1", "draining", DRAINS)]));
        let failure = set.refused(call).await;
        let found = (failure.class, failure.code.as_deref());
        assert_eq!(found, (FailureClass::Transient, Some("draining")), "{failure}");
    }
    assert_eq!(set.sent(), (0, 0));
    let set = Set::of(TargetTypeEnum::Instance).await;
    set.proxy.on(HEALTH, 1, health(&[("i-1", "draining", DRAINS)]));
    set.done(add("i-1")).await;
    assert_eq!(set.sent(), (1, 0));
}

#[tokio::test]
async fn what_drains_is_drained_when_it_is_gone_and_has_lingered() {
    let set = Set::of(TargetTypeEnum::Instance).await;
    let (drains, gone) = (health(&[("i-1", "draining", DRAINS)]), health(&[]));
    set.proxy.on(HEALTH, 1_000, drains.clone());
    let call = wait_drained("i-1", 400, OnTimeout::GoOn);
    let answer = set.provider.wait(&call).await.expect("it goes on");
    assert_eq!((&answer["sessions"], &answer["present"]), (&1.into(), &false.into()));
    let call = wait_drained("i-1", 400, OnTimeout::Fail);
    let failure = set.provider.wait(&call).await.expect_err("it drains");
    assert_eq!(failure.class, FailureClass::Deadline);
    assert!(failure.message.contains(DRAINS), "{failure}");
    assert_eq!(set.facts("i-1").await, facts(false));

    let set = Set::of(TargetTypeEnum::Instance).await;
    set.proxy.on(HEALTH, 3, drains);
    set.proxy.on(HEALTH, 1, gone.clone());
    // It came back while it lingered, and left again.
    set.proxy.on(HEALTH, 1, health(&[("i-1", "healthy", "")]));
    set.proxy.on(HEALTH, 2, gone.clone());
    let begun = Instant::now();
    let call = wait_drained("i-1", 20_000, OnTimeout::Fail);
    let answer = set.provider.wait(&call).await.expect("it is drained");
    assert_eq!(answer["sessions"], 0);
    assert!(begun.elapsed() >= Duration::from_millis(2 * LINGER_MS), "{:?}", begun.elapsed());
    assert_eq!(set.proxy.seen(HEALTH).len(), 7);

    // A wait that is shorter than the linger.
    set.proxy.on(HEALTH, 1, gone);
    let call = wait_drained("i-1", LINGER_MS / 2, OnTimeout::Fail);
    let failure = set.provider.wait(&call).await.expect_err("it lingers");
    assert!(failure.message.contains("lingers for 300ms"), "{failure}");
}

#[tokio::test]
async fn a_target_is_waited_for_until_its_checks_pass() {
    let set = Set::of(TargetTypeEnum::Instance).await;
    let call = wait_healthy("i-1", 20_000, OnTimeout::Fail);
    let failure = set.provider.wait(&call).await.expect_err("it is not there");
    assert_eq!(failure.code.as_deref(), Some("not-registered"));
    set.proxy.on(HEALTH, 2, health(&[("i-1", "initial", "Elb.InitialHealthChecking")]));
    set.proxy.on(HEALTH, 1, sts_error(400, "Throttling", "so it is"));
    set.proxy.on(HEALTH, 1, health(&[("i-1", "healthy", "")]));
    assert_eq!(set.provider.wait(&call).await.expect("it is up")["health"], "healthy");
    set.proxy.on(HEALTH, 1_000, health(&[("i-1", "unhealthy", "Target.Timeout")]));
    let call = wait_healthy("i-1", 300, OnTimeout::Fail);
    let failure = set.provider.wait(&call).await.expect_err("it is not up");
    assert_eq!(failure.class, FailureClass::Deadline);
    assert!(failure.message.contains("So it is (Target.Timeout), after 300ms"), "{failure}");
    let call = wait_healthy("i-1", 0, OnTimeout::GoOn);
    assert_eq!(set.provider.wait(&call).await.expect("it goes on")["health"], "unhealthy");
}

/// A target is shown as draining for its whole delay.
#[tokio::test]
async fn a_wait_that_could_never_be_over_is_told_before() {
    let set = Set::of(TargetTypeEnum::Instance).await;
    set.balancer.set_delay(&set.arn, 10).await;
    let may = |timeout_ms, on_timeout| {
        let call = wait_drained("i-1", timeout_ms, on_timeout);
        let provider = &set.provider;
        async move { provider.may(&call).await }
    };
    let failure = may(LINGER_MS - 1, OnTimeout::Fail).await.expect_err("it lingers longer");
    assert_eq!(failure.code.as_deref(), Some("too-short"), "{failure}");
    may(LINGER_MS, OnTimeout::Fail).await.expect("it is not there: it has no delay");
    set.done(add("i-1")).await;
    let failure = may(10_000, OnTimeout::Fail).await.expect_err("10 s, and the linger");
    assert_eq!(failure.code.as_deref(), Some("too-short"), "{failure}");
    assert!(failure.message.contains("10s320ms"), "{failure}");
    may(10_000, OnTimeout::GoOn).await.expect("it goes on");
    let needed_ms = 10_000 + LINGER_MS + PACE.poll_ms_max;
    may(needed_ms - 1, OnTimeout::Fail).await.expect_err("a pause between two looks");
    may(needed_ms, OnTimeout::Fail).await.expect("it has the time");
}

#[tokio::test]
async fn a_lost_answer_is_settled_by_looking() {
    let set = Set::of(TargetTypeEnum::Ip).await;
    for (call, action) in [(add("i-1"), REGISTER), (drain("i-1", 0), DEREGISTER)] {
        let context = context();
        for (fault, wanted) in [(Fault::LoseRequest, false), (Fault::LoseAnswer, true)] {
            let seen = set.proxy.seen(action).len();
            set.proxy.on(action, 1, fault);
            let outcome = set.provider.perform(&call, &context).await;
            assert!(matches!(outcome, EffectOutcome::Unknown(_)), "{action}: {outcome:?}");
            match (set.provider.settle(&call, &context).await, wanted) {
                (Settled::NotHappened, false) => {}
                (Settled::Done(answer), true) => assert_eq!(answer["host"], "i-1"),
                (settled, _) => panic!("{action}: {settled:?}"),
            }
            assert_eq!(set.proxy.seen(action).len(), seen + 1, "{action} was sent again");
        }
    }
    // A look that failed shows nothing.
    set.proxy.on(HEALTH, 1, sts_error(403, "AccessDenied", "no"));
    let settled = set.provider.settle(&add("i-1"), &context()).await;
    assert!(matches!(settled, Settled::CantKnow(_)), "{settled:?}");
}

#[tokio::test]
async fn only_proof_is_taken_for_a_refusal() {
    let set = Set::of(TargetTypeEnum::Instance).await;
    for (code, status, class) in [
        ("TargetGroupNotFound", 400, Some(FailureClass::Precondition)),
        ("InvalidTarget", 400, Some(FailureClass::Precondition)),
        ("TooManyTargets", 400, Some(FailureClass::Refused)),
        ("TooManyRegistrationsForTargetId", 400, Some(FailureClass::Refused)),
        ("AccessDenied", 403, Some(FailureClass::Denied)),
        ("InternalFailure", 500, None),
    ] {
        set.proxy.on(REGISTER, 1, sts_error(status, code, "so it is"));
        match (set.provider.perform(&add("i-1"), &context()).await, class) {
            (EffectOutcome::Refused(failure), Some(class)) => {
                assert_eq!((failure.class, failure.code.as_deref()), (class, Some(code)));
            }
            (EffectOutcome::Unknown(_), None) => {}
            (outcome, _) => panic!("{code}: {outcome:?}"),
        }
    }
    let sent = set.sent().0;
    set.proxy.on(REGISTER, 2, sts_error(400, "Throttling", "so it is"));
    set.done(add("i-1")).await;
    assert_eq!(set.sent().0, sent + 3, "what is throttled is sent again");
}

/// No other account is ever changed, whatever its groups are called.
#[tokio::test]
async fn a_group_of_another_account_is_not_changed() {
    let set = Set::of_account(TargetTypeEnum::Instance, Some("999999999999")).await;
    let failure = set.refused(add("i-1")).await;
    assert_eq!(failure.code.as_deref(), Some("WrongAccount"), "{failure}");
    let failure = set.provider.may(&add("i-1")).await.expect_err("another account");
    assert_eq!(failure.code.as_deref(), Some("WrongAccount"), "{failure}");
    assert_eq!(set.sent(), (0, 0));
}

/// Where nobody can be asked nothing speaks against an effect; who may not ask is told.
#[tokio::test]
async fn what_can_not_be_asked_is_told_apart_from_what_may_not() {
    let set = Set::of(TargetTypeEnum::Instance).await;
    let groups = "DescribeTargetGroups";
    set.proxy.on(groups, 3, sts_error(500, "InternalFailure", "so it is"));
    set.provider.may(&add("i-1")).await.expect("nobody says no");
    set.proxy.on(groups, 1, sts_error(403, "AccessDenied", "so it is"));
    let failure = set.provider.may(&add("i-1")).await.expect_err("it may not ask");
    assert_eq!(failure.class, FailureClass::Denied, "{failure}");
    assert_keeps_secrets(&failure);
}
