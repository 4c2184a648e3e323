//! Where the instances of an environment are, for balancers that send traffic to an address.

use crate::Provider;
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use stepback_core::calls::Ec2Call;
use stepback_core::{Failure, FailureClass, InstanceId};

/// The addresses that a balancer sends traffic to.
#[async_trait]
pub trait Addresses: Send + Sync {
    /// Those of all instances that have one.
    ///
    /// # Errors
    /// Nobody could be asked.
    async fn all(&self) -> Result<BTreeMap<InstanceId, IpAddr>, Failure>;

    /// That of one instance, in its canonical form.
    ///
    /// # Errors
    /// It has none, or nobody could be asked.
    async fn of(&self, host: &InstanceId) -> Result<IpAddr, Failure> {
        address_of(host, &self.all().await?)
    }
}

/// That of one of these instances, in its canonical form.
///
/// # Errors
/// It has none.
pub fn address_of(
    host: &InstanceId,
    all: &BTreeMap<InstanceId, IpAddr>,
) -> Result<IpAddr, Failure> {
    all.get(host).map(IpAddr::to_canonical).ok_or_else(|| {
        let message = format!("{host} is no instance with an address: no pool can have it");
        Failure::new(FailureClass::Precondition, message).with_code("no-address")
    })
}

/// As the provider of the instances tells them: their private addresses.
pub struct OfCloud(pub Arc<dyn Provider>);

#[async_trait]
impl Addresses for OfCloud {
    async fn all(&self) -> Result<BTreeMap<InstanceId, IpAddr>, Failure> {
        let all = self.0.read(&Ec2Call::Find { tags: BTreeMap::new() }.into()).await?;
        let of = |one: &serde_json::Value| {
            let address = one["private_ip"].as_str()?.parse::<IpAddr>().ok()?;
            Some((one["id"].as_str()?.into(), address.to_canonical()))
        };
        Ok(all.as_array().into_iter().flatten().filter_map(of).collect())
    }
}
