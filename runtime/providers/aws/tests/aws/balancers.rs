//! Target groups on moto, made as somebody who may do everything makes them.

use aws_sdk_elasticloadbalancingv2 as elb;
use elb::types::{
    Action, ActionTypeEnum, ProtocolEnum, TargetDescription, TargetGroupAttribute, TargetTypeEnum,
};
use std::sync::atomic::{AtomicU32, Ordering};

/// A load balancer, with target groups that it sends requests to and others.
pub struct Balancer {
    elb: elb::Client,
    arn: String,
    vpc: String,
}

/// A number that no other name of this process has.
fn fresh() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::SeqCst)
}

impl Balancer {
    /// One in the network that moto's account begins with.
    pub async fn start(endpoint: &str, sdk: &aws_config::SdkConfig) -> Self {
        let http = || aws_smithy_http_client::Builder::new().build_http();
        let ec2 = aws_sdk_ec2::config::Builder::from(sdk).endpoint_url(endpoint);
        let ec2 = aws_sdk_ec2::Client::from_conf(ec2.http_client(http()).build());
        let config = elb::config::Builder::from(sdk).endpoint_url(endpoint);
        let elb = elb::Client::from_conf(config.http_client(http()).build());
        let subnets = ec2.describe_subnets().send().await.expect("subnets").subnets;
        let subnets = subnets.unwrap_or_default();
        let ids = subnets.iter().take(2).filter_map(|one| one.subnet_id.clone()).collect();
        let vpc = subnets.first().and_then(|one| one.vpc_id.clone()).expect("a network");
        let made = elb.create_load_balancer().name(format!("balancer-{}", fresh()));
        let made = made.set_subnets(Some(ids)).send().await.expect("a balancer");
        let made = made.load_balancers.unwrap_or_default().remove(0);
        Self { elb, arn: made.load_balancer_arn.expect("its ARN"), vpc }
    }

    /// A target group that nothing uses: its name and its ARN.
    pub async fn unused(&self, kind: TargetTypeEnum) -> (String, String) {
        let name = format!("group-{}", fresh());
        let asked = self.elb.create_target_group().name(&name).target_type(kind.clone());
        let asked = match kind {
            TargetTypeEnum::Lambda => asked,
            _ => asked.protocol(ProtocolEnum::Http).port(80).vpc_id(&self.vpc),
        };
        let made = asked.send().await.expect("a group").target_groups.unwrap_or_default();
        (name, made[0].target_group_arn.clone().expect("its ARN"))
    }

    /// One that the balancer sends requests to.
    pub async fn used(&self, kind: TargetTypeEnum) -> (String, String) {
        let (name, arn) = self.unused(kind).await;
        let forward = Action::builder().r#type(ActionTypeEnum::Forward).target_group_arn(&arn);
        let port = i32::try_from(10_000 + fresh()).expect("a port");
        let asked = self.elb.create_listener().load_balancer_arn(&self.arn).port(port);
        let forward = forward.build();
        asked.protocol(ProtocolEnum::Http).default_actions(forward).send().await.expect("one");
        (name, arn)
    }

    /// Have a group send requests to a target.
    pub async fn register(&self, group_arn: &str, id: &str, port: u16) {
        let target = TargetDescription::builder().id(id).port(i32::from(port)).build();
        let asked = self.elb.register_targets().target_group_arn(group_arn).targets(target);
        asked.send().await.expect("it is registered");
    }

    /// Let a target that is drained go on for so long.
    pub async fn set_delay(&self, group_arn: &str, seconds: u32) {
        let key = "deregistration_delay.timeout_seconds";
        let delay = TargetGroupAttribute::builder().key(key).value(seconds.to_string()).build();
        let asked = self.elb.modify_target_group_attributes().target_group_arn(group_arn);
        asked.attributes(delay).send().await.expect("it is set");
    }
}
