//! Reading facts: of what a call touches before and after it, and of what an operation made.

use super::WorldAccess;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;
use stepback_core::calls::{Beside, DockerCall, Ec2Call};
use stepback_core::reverse::Seen;
use stepback_core::step::{Change, PastEffect};
use stepback_core::{Call, Facts, Failure, FailureClass, InstanceId, Resource, Token};
use stepback_provider::engines::is_none;

/// The pause between two tries of reading a resource; it doubles.
const OBSERVE_BACKOFF_MS: u64 = 50;
/// What is beside a call's object is not waited for: an engine that does not answer must not keep
/// its instance from being stopped.
const BESIDE_MS_MAX: u64 = 10_000;
/// The code of an engine that nobody was told how to reach: there is none, as far as is known.
const NO_ENDPOINT: &str = "no-endpoint";

/// What a search for stamps found.
pub(crate) struct Found {
    pub(crate) resources: Vec<Resource>,
    /// The hosts that could not be asked, and why.
    not_asked: BTreeMap<String, String>,
    /// Why the cloud could not be asked, if it could not.
    cloud_not_asked: Option<String>,
}

impl Found {
    /// Why nobody can say whether a resource carries one: who has it could not be asked.
    pub(crate) fn not_asked(&self, resource: &Resource) -> Option<&str> {
        match resource.host() {
            Some(host) => self.not_asked.get(host).map(String::as_str),
            None => self.cloud_not_asked.as_deref(),
        }
    }

    /// Whether a resource carries one.
    pub(super) fn has(&self, resource: &Resource) -> Result<bool, Failure> {
        match self.not_asked(resource) {
            _ if self.resources.contains(resource) => Ok(true),
            None => Ok(false),
            Some(why) => Err(Failure::new(FailureClass::Transient, why.to_owned())),
        }
    }
}

/// Which containers there are on a host.
pub(crate) enum Listed {
    /// These, as its engine tells.
    All(Value),
    /// Nobody listens there where an engine would.
    NoEngine,
    /// It is no host of the environment's engines.
    NoEndpoint,
}

impl WorldAccess {
    /// The facts that count of a resource; what may pass (throttling, a broken connection) is
    /// tried again a few times.
    pub(crate) async fn observe(&self, resource: &Resource) -> Result<Facts, Failure> {
        let revealed = self.secrets.reveal_resource(resource)?;
        #[cfg(feature = "mutants")]
        let revealed = match self.limits.mutant {
            Some(crate::mutants::Mutant::ObservesMarks) => resource.clone(),
            _ => revealed,
        };
        self.replaced.must_allow_look(&revealed)?;
        let what = resource.to_string();
        let look = || {
            let asked = self.provider.observe(&revealed);
            self.ask_of(&what, self.limits.read_ms_max, asked)
        };
        let facts = self.patiently(look).await?;
        tracing::debug!(%resource, absent = facts.is_absent(), "looked at");
        Ok(self.secrets.seal(facts))
    }

    /// Ask again, a few times, where what failed may pass.
    async fn patiently<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        ask: impl Fn() -> F,
    ) -> Result<T, Failure> {
        let mut tried = 0;
        loop {
            tried += 1;
            match ask().await {
                Err(failure) if failure.is_retryable() && tried < self.limits.observations_max => {
                    let pause_ms = OBSERVE_BACKOFF_MS << tried.min(6);
                    self.clock.sleep(Duration::from_millis(pause_ms)).await;
                }
                answered => return answered,
            }
        }
    }

    /// The facts of a resource as they are, without seals: for a decision alone, and kept nowhere.
    pub(crate) async fn look_at(&self, resource: &Resource) -> Result<Facts, Failure> {
        let revealed = self.secrets.reveal_resource(resource)?;
        self.replaced.must_allow_look(&revealed)?;
        let asked = self.provider.observe(&revealed);
        self.ask_of(&resource.to_string(), self.limits.read_ms_max, asked).await
    }

    /// What a call touches, and what it changes beside that, as it is now; what it creates is
    /// absent.
    pub(crate) async fn before(&self, call: &Call, token: &Token) -> Result<Vec<Change>, Failure> {
        let mut changes = vec![];
        for resource in call.resources(token) {
            let resource = self.secrets.canonical(&resource);
            let before = match &resource {
                Resource::Created { .. } => Facts::Absent,
                known => self.observe(known).await?,
            };
            changes.push(Change { resource, before, after: None });
        }
        let runs = |change: &Change| change.before.get("state") == Some(&Value::from("running"));
        let is_up = changes.first().is_some_and(runs);
        if let Some(beside) = call.beside() {
            changes.extend(self.beside(&beside, is_up).await);
        }
        Ok(changes)
    }

    async fn beside(&self, beside: &Beside, is_up: bool) -> Vec<Change> {
        let (instance, with_volumes) = match beside {
            Beside::Containers(instance) => (instance, false),
            Beside::ContainersAndVolumes(instance) => (instance, true),
        };
        // On an instance that does not run, no container does; its volumes are on it all the same.
        let mut changes = match is_up {
            true => self.containers_of(instance).await,
            false => vec![],
        };
        if with_volumes {
            changes.extend(self.volumes_of(instance).await);
        }
        changes
    }

    /// Every container of a host; where nobody can say which there are, that.
    async fn containers_of(&self, host: &InstanceId) -> Vec<Change> {
        let all = |before| {
            let resource = Resource::Containers { host: host.0.clone() };
            vec![Change { resource, before, after: None }]
        };
        let listed = match self.listed(host).await {
            Ok(Listed::All(listed)) => listed,
            Ok(Listed::NoEndpoint) => return vec![],
            Ok(Listed::NoEngine) => return all(Facts::Absent),
            Err(failure) => return all(Facts::Unknown(failure.message)),
        };
        let names = listed.as_array().into_iter().flatten();
        let names = names.filter_map(|one| one.get("name").and_then(Value::as_str));
        let resources =
            names.map(|name| Resource::Container { host: host.0.clone(), name: name.to_owned() });
        self.known(resources.collect()).await
    }

    /// Which containers there are on a host.
    ///
    /// # Errors
    /// Why nobody can say.
    pub(crate) async fn listed(&self, host: &InstanceId) -> Result<Listed, Failure> {
        let list = Call::Docker(DockerCall::ListContainers { host: host.clone() });
        let limit = Duration::from_millis(BESIDE_MS_MAX);
        let asked = async {
            let ask = || self.read_all(&list);
            match self.patiently(ask).await {
                // Whether anybody listens is told by the last answer, and that one told nothing.
                Err(failure) if failure.is_retryable() && !is_none(&failure) => {
                    self.patiently(ask).await
                }
                answered => answered,
            }
        };
        match self.clock.timeout(limit, asked).await {
            Ok(Ok(listed)) => Ok(Listed::All(listed)),
            Ok(Err(failure)) if failure.code.as_deref() == Some(NO_ENDPOINT) => {
                Ok(Listed::NoEndpoint)
            }
            Ok(Err(failure)) if is_none(&failure) => Ok(Listed::NoEngine),
            Ok(Err(failure)) => Err(failure),
            Err(_) => {
                let why = format!("its Docker Engine did not answer in {limit:?}");
                Err(Failure::new(FailureClass::Transient, why))
            }
        }
    }

    async fn volumes_of(&self, instance: &InstanceId) -> Vec<Change> {
        let described =
            self.read_all(&Call::Ec2(Ec2Call::Describe { instance: instance.clone() })).await;
        let devices = described.ok().and_then(|found| found.get("devices")?.as_array().cloned());
        let devices = devices.unwrap_or_default();
        let volumes = devices.iter().filter_map(|one| one.get("volume").and_then(Value::as_str));
        let resources = volumes.map(|id| Resource::Volume { id: id.to_owned() });
        self.known(resources.collect()).await
    }

    async fn known(&self, resources: Vec<Resource>) -> Vec<Change> {
        let limit = Duration::from_millis(BESIDE_MS_MAX);
        let looks = resources.into_iter().map(|resource| async move {
            let resource = self.secrets.canonical(&resource);
            let before = match self.clock.timeout(limit, self.observe(&resource)).await {
                Ok(Ok(facts)) => facts,
                Ok(Err(failure)) => Facts::Unknown(failure.message),
                Err(_) => Facts::Unknown(format!("it did not answer in {limit:?}")),
            };
            Change { resource, before, after: None }
        });
        futures_util::future::join_all(looks).await
    }

    /// What carries one of these stamps.
    ///
    /// In a part of the world that is another one by now, it is not looked for.
    pub(crate) async fn stamped(&self, tokens: &[Token]) -> Result<Found, Failure> {
        self.replaced.must_allow_search()?;
        let asked = self.provider.stamped(tokens);
        let told = self.ask_of("searching for stamps", self.limits.read_ms_max, asked).await?;
        let found = told.found.iter().map(|(_, resource)| resource);
        let found = found.filter(|resource| self.replaced.must_allow_look(resource).is_ok());
        let resources = found.map(|resource| self.secrets.canonical(resource));
        let replaced = self.replaced.engines().map(|(host, why)| (host.clone(), why.clone()));
        let not_asked = told.not_asked.into_iter();
        let not_asked = not_asked.map(|(host, why)| (host, self.secrets.redact_written(why)));
        let not_asked = not_asked.chain(replaced);
        let cloud_not_asked = told.cloud_not_asked.map(|why| self.secrets.redact_written(why));
        let cloud_not_asked = cloud_not_asked.or_else(|| self.replaced.cloud().cloned());
        let resources = resources.collect();
        Ok(Found { resources, not_asked: not_asked.collect(), cloud_not_asked })
    }

    /// The same, looked for until what was just created must be visible; at once if it is found.
    pub(crate) async fn stamped_in_time(
        &self,
        tokens: &[Token],
        is_it: impl Fn(&Found) -> bool,
    ) -> Result<Found, Failure> {
        let visible_after_ms = self.provider.visible_after_ms();
        #[cfg(feature = "mutants")]
        let visible_after_ms = match self.limits.mutant {
            Some(crate::mutants::Mutant::LooksOnce) => 0,
            _ => visible_after_ms,
        };
        let until = self.clock.now().after(Duration::from_millis(visible_after_ms));
        let mut pause_ms = OBSERVE_BACKOFF_MS;
        loop {
            let found = self.stamped(tokens).await;
            let is_over = self.clock.now() >= until;
            match found {
                Ok(found) if is_over || is_it(&found) => return Ok(found),
                Err(failure) if is_over || !failure.is_retryable() => return Err(failure),
                Ok(_) | Err(_) => {}
            }
            let left = until.since(self.clock.now());
            self.clock.sleep(Duration::from_millis(pause_ms).min(left)).await;
            pause_ms = pause_ms.saturating_mul(2);
        }
    }

    /// What is beside a call's object, as it is now. The engine of an instance that is down is not
    /// asked: it would not answer, once for each of its containers.
    pub(super) async fn see_beside(&self, resource: &Resource, is_down: bool) -> Facts {
        if is_down && resource.host().is_some() {
            return Facts::Unknown("its instance is down".to_owned());
        }
        self.observe(resource).await.unwrap_or_else(|failure| Facts::Unknown(failure.message))
    }

    /// What carries the stamp of an effect of the past, of which this was seen just now: what is
    /// there and was made a moment ago may not be listed by its stamp yet.
    async fn stamped_again(
        &self,
        effect: &PastEffect,
        seen: &[(&Resource, Facts)],
    ) -> Result<Found, Failure> {
        let tokens = std::slice::from_ref(&effect.token);
        match seen.first() {
            Some((main, Facts::Present(_))) => {
                self.stamped_in_time(tokens, |found| found.resources.contains(main)).await
            }
            Some(_) | None => self.stamped(tokens).await,
        }
    }

    /// What an effect of the past touched, as it is now.
    ///
    /// # Errors
    /// What its call is about can't be read. What is beside that may be out of reach just because
    /// of the effect.
    pub(crate) async fn see_again(&self, effect: &PastEffect) -> Result<Vec<Seen>, Failure> {
        let objects = effect.call.resources(&effect.token).len().min(effect.changes.len());
        let (objects, beside) = effect.changes.split_at(objects);
        let mut all = vec![];
        for change in objects {
            all.push((&change.resource, self.observe(&change.resource).await?));
        }
        let stamped = match effect.call.leaves_a_stamp() {
            true => Some(self.stamped_again(effect, &all).await?),
            false => None,
        };
        let is_down = all.first().is_some_and(|(_, main)| main.is_absent() || main.is_down());
        let looks = beside.iter().map(|change| self.see_beside(&change.resource, is_down));
        let looked = futures_util::future::join_all(looks).await;
        all.extend(beside.iter().map(|change| &change.resource).zip(looked));
        let mut seen = vec![];
        for (resource, facts) in all {
            let resource = resource.clone();
            let is_stamped = match &stamped {
                Some(found) => Some(found.has(&resource)?),
                None => None,
            };
            seen.push(Seen { resource, facts, is_stamped });
        }
        Ok(seen)
    }
}
