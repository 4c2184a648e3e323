//! Looking at what is on the engines: facts, and what carries a stamp.
//!
//! An engine that does not answer shows nothing, and nothing counts as absent there. Only where
//! the instance itself is gone for good, what was on it is gone too.

use super::connect::Engine;
use super::errors::{Answer, RequestError};
use super::{Docker, ONE_BY_ONE, is_gone};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use stepback_core::{Facts, Failure, FailureClass, Resource, Token};
use stepback_provider::Stamped;

/// An engine that does not tell by then what carries a stamp is one that could not be asked.
const STAMPED_MS_MAX: u64 = 30_000;

impl Docker {
    /// The facts of a resource.
    ///
    /// # Errors
    /// An engine that does not answer.
    pub(super) async fn observed(&self, resource: &Resource) -> Result<Facts, Failure> {
        match resource {
            Resource::Created { kind, host, token } => {
                let hosts = host.clone().map_or_else(|| self.known(), |host| vec![host]);
                let told = self.carrying(hosts, &[Token(token.clone())]).await;
                match told.only(*kind)? {
                    Some(named) => Box::pin(self.observed(&named)).await,
                    None => Ok(Facts::Absent),
                }
            }
            Resource::Containers { .. } => Ok(Facts::Unknown(ONE_BY_ONE.to_owned())),
            named => match self.facts(named).await {
                Ok(facts) => Ok(Facts::from_json(facts)),
                Err(told) if is_gone(&told.failure) => Ok(Facts::Absent),
                Err(told) => Err(told.failure),
            },
        }
    }

    async fn facts(&self, resource: &Resource) -> Answer<Value> {
        match resource {
            Resource::Container { host, name } => {
                self.engine(host).await?.container_facts(name).await
            }
            Resource::Image { host, image } => {
                let found = self.engine(host).await?.find_image(image).await?;
                Ok(found.map_or(Value::Null, |image| json!({ "digest": image.id })))
            }
            Resource::DockerVolume { host, name } => {
                self.engine(host).await?.volume_facts(name).await
            }
            Resource::FileSystem { host, volume } => {
                let engine = self.engine(host).await?;
                self.helper(&engine)?.facts(volume).await
            }
            Resource::Volume { .. }
            | Resource::Snapshot { .. }
            | Resource::Instance { .. }
            | Resource::Containers { .. }
            | Resource::Pool { .. }
            | Resource::PoolTarget { .. }
            | Resource::Created { .. } => {
                let message = format!("{resource} is not on a Docker Engine");
                Err(Failure::new(FailureClass::Internal, message).into())
            }
        }
    }

    /// The hosts that are known: those that the environment names, and those that were asked for.
    pub(super) fn known(&self) -> Vec<String> {
        let mut known: BTreeSet<String> = self.hosts.fixed().into_iter().collect();
        known.extend(self.asked_for().iter().cloned());
        known.into_iter().collect()
    }

    /// What on these hosts carries one of these tokens.
    pub(super) async fn carrying(&self, hosts: Vec<String>, tokens: &[Token]) -> Stamped {
        let mut told = Stamped::default();
        if tokens.is_empty() {
            return told;
        }
        let limit = Duration::from_millis(STAMPED_MS_MAX);
        let asked = hosts.into_iter().map(|host| async move {
            let found = self.clock.timeout(limit, self.carrying_on(&host, tokens)).await;
            let late = |_| {
                let what = format!("the Docker Engine of {host}");
                Err(RequestError::unknown(format!("{what} does not answer in {limit:?}")))
            };
            let found = found.unwrap_or_else(late);
            (host, found)
        });
        for (host, found) in join_all(asked).await {
            match found {
                Ok(found) => told.found.extend(found),
                Err(why) if is_gone(&why.failure) => {}
                Err(why) => told.not_asked.push((host, why.failure.message)),
            }
        }
        told
    }

    async fn carrying_on(&self, host: &str, tokens: &[Token]) -> Answer<Vec<(Token, Resource)>> {
        let engine: Engine = self.engine(host).await?;
        engine.stamped(tokens).await
    }
}
