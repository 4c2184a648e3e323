//! Whether the keys of encrypted volumes can be used.
//!
//! A volume that is attached goes on while its key is disabled, or waits for its deletion: the key
//! is asked for when the volume is attached, or its instance is started, the next time. Whoever
//! detaches it can't attach it back then (AWS KMS Developer Guide, *How unusable KMS keys affect
//! data keys*).

use super::errors::RequestError;
use super::{Aws, client_for};
use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_sdk_kms::types::KeyState;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::calls::{EbsCall, Ec2Call};
use stepback_core::{Call, Failure, FailureClass};

/// A network that leads to EC2 alone is not waited for.
const ANSWER_MS_MAX: u64 = 5_000;

/// AWS KMS, asked about keys and for nothing else.
pub(super) struct Keys {
    client: aws_sdk_kms::Client,
    /// It did not answer: it is not asked again.
    is_silent: AtomicBool,
}

/// A key, and what is encrypted with it.
type Used = BTreeMap<String, String>;

impl Keys {
    pub(super) fn new(sdk: &SdkConfig, endpoint: Option<&str>) -> Self {
        let mut config =
            aws_sdk_kms::config::Builder::from(sdk).retry_config(RetryConfig::disabled());
        if let Some(endpoint) = endpoint {
            config = config.endpoint_url(endpoint);
        }
        let client = client_for(endpoint.or(sdk.endpoint_url()));
        let client = aws_sdk_kms::Client::from_conf(config.http_client(client).build());
        Self { client, is_silent: AtomicBool::new(false) }
    }

    /// Why a key can't be used; nothing where nobody says so (AWS KMS API Reference,
    /// *DescribeKey*; AWS KMS Developer Guide, *Key states of AWS KMS keys*).
    async fn why_not(&self, key: &str, clock: &Clock) -> Option<String> {
        if self.is_silent.load(Ordering::Relaxed) {
            return None;
        }
        let asked = self.client.describe_key().key_id(key).send();
        let answer = clock.timeout(Duration::from_millis(ANSWER_MS_MAX), asked).await;
        let answer = answer.ok().map(|answer| answer.map_err(RequestError::from));
        match answer {
            Some(Ok(answer)) => match answer.key_metadata?.key_state? {
                // It changes where it is replicated, and can be used meanwhile.
                KeyState::Enabled | KeyState::Updating => None,
                state => Some(format!("is {}", state.as_str())),
            },
            Some(Err(trouble)) if trouble.has_code(&["NotFoundException"]) => {
                Some("is unknown to AWS KMS".to_owned())
            }
            Some(Err(RequestError::Answered { .. })) => None,
            Some(Err(RequestError::NeverSent(_) | RequestError::NoAnswer(_))) | None => {
                self.is_silent.store(true, Ordering::Relaxed);
                None
            }
        }
    }
}

impl Aws {
    /// Whether the keys that a call needs, or the way back from it, can be used. Where KMS can't be
    /// asked that speaks against nothing.
    ///
    /// # Errors
    /// A key that can't be used, with its state, and what is encrypted with it.
    pub(super) async fn must_have_usable_keys(&self, call: &Call) -> Result<(), Failure> {
        for (key, what) in self.keys_of(call).await {
            if let Some(why) = self.keys.why_not(&key, &self.clock).await {
                let message = format!(
                    "{what} is encrypted with KMS key {key}, which {why}: it could not be \
                     attached, nor attached back; make the key usable first"
                );
                let failure = Failure::new(FailureClass::Precondition, message);
                return Err(failure.with_code("CustomerKeyHasBeenRevoked"));
            }
        }
        Ok(())
    }

    async fn keys_of(&self, call: &Call) -> Used {
        let (volumes, instance) = match call {
            Call::Ebs(EbsCall::Attach { volume, .. })
            | Call::Ebs(EbsCall::Detach { volume, .. })
            | Call::Ebs(EbsCall::CreateSnapshot { volume, .. }) => (vec![volume.0.clone()], None),
            // It is started again, by the undo if by nobody else.
            Call::Ec2(Ec2Call::Start { instance }) | Call::Ec2(Ec2Call::Stop { instance }) => {
                (vec![], Some(instance))
            }
            Call::Ebs(EbsCall::CreateVolume { snapshot: Some(snapshot), .. }) => {
                let found = self.snapshot(snapshot.as_str()).await.ok().flatten();
                let key = found.and_then(|found| found.key);
                return key.map(|key| (key, format!("snapshot {snapshot}"))).into_iter().collect();
            }
            Call::Ebs(EbsCall::CreateVolume { encrypted: true, .. }) => {
                return self.default_key().await;
            }
            _ => return Used::new(),
        };
        let volumes = match instance {
            Some(instance) => {
                let found = self.instance(instance.as_str()).await.ok().flatten();
                // One that is so already is left alone.
                let is_so = if matches!(call, Call::Ec2(Ec2Call::Start { .. })) {
                    "running"
                } else {
                    "stopped"
                };
                let found = found.filter(|found| found.state != is_so);
                found.map_or_else(Vec::new, |found| found.devices.into_values().collect())
            }
            None => volumes,
        };
        let mut used = Used::new();
        for volume in volumes {
            let found = self.volume(&volume).await.ok().flatten();
            used.extend(found.and_then(|found| found.key).map(|key| (key, volume)));
        }
        used.into_iter().map(|(key, volume)| (key, format!("volume {volume}"))).collect()
    }

    /// The key of encrypted volumes that name none (Amazon EC2 API Reference,
    /// *GetEbsDefaultKmsKeyId*).
    async fn default_key(&self) -> Used {
        let answer = self.reads.get_ebs_default_kms_key_id().send().await;
        let key = answer.ok().and_then(|answer| answer.kms_key_id);
        // AWS's own is made when it is first used.
        let key = key.filter(|key| !key.starts_with("alias/aws/"));
        key.map(|key| (key, "the new volume".to_owned())).into_iter().collect()
    }
}
