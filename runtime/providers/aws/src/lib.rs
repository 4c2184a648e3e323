//! The AWS provider: EC2 and EBS through the AWS SDK, and pools that are target groups.
//!
//! [`Aws`] answers every `ec2.*` and `ebs.*` call in the simulator's shapes, and no other call;
//! [`TargetGroups`] those of `load-balancer.*`, for the pools that it is given. An
//! effect is one request; the SDK's own retries are for reads only, because a request that is
//! sent twice after a lost answer can take effect twice. What an effect creates carries its token
//! as a tag from its first moment, and as client token where the API has one. No credential is in
//! any error.

mod advice;
mod effects;
mod errors;
mod iam;
mod import;
mod keys;
mod late;
mod permitted;
mod reads;
mod settle;
mod shapes;
mod target_groups;
mod waits;

pub use iam::{IAM_ALWAYS, iam_actions};
pub use target_groups::{TargetGroup, TargetGroups};
pub use waits::Pace;

use async_trait::async_trait;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::ProvideCredentials;
use aws_smithy_http_client::tls::{Provider as Tls, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use effects::{ATTEMPT_MS_MAX, REQUEST_MS_MAX};
use errors::RequestError;
use serde_json::{Value, json};
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::step::EffectOutcome;
use stepback_core::{Call, Class, Facts, Failure, FailureClass, Interface, Resource, Token};
use stepback_provider::advice::Advice;
use stepback_provider::inventory::Inventory;
use stepback_provider::{EffectContext, Provider, Settled, Stamped};

/// How long a connection may take to be made.
const CONNECT_MS_MAX: u64 = 5_000;

/// How often a read is asked for, its first time included
/// (AWS SDKs and Tools Reference Guide, *Retry behavior*).
const READ_ATTEMPTS_MAX: u32 = 3;

/// How long getting credentials may take: an instance's role answers in seconds, or never.
const CREDENTIALS_MS_MAX: u64 = 30_000;

/// How long a search for stamps may take: pages of what there is, each asked for a few times.
const STAMPED_MS_MAX: u64 = 180_000;

/// How to reach one account in one region; what is not given comes from the environment and the
/// profile, as with every AWS tool (AWS SDKs and Tools Reference Guide, *Credential provider
/// chain*).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AwsConfig {
    /// Such as `eu-west-1`; nothing outside it is read or changed.
    pub region: Option<String>,
    /// A profile of `~/.aws/config`.
    pub profile: Option<String>,
    /// Another address than AWS's own, `http://…` or `https://…`.
    pub endpoint: Option<String>,
    /// The only account that may be changed, 12 digits.
    pub account: Option<String>,
}

/// One account in one region.
pub struct Aws {
    /// Retries what failed.
    reads: aws_sdk_ec2::Client,
    /// Never retries.
    effects: aws_sdk_ec2::Client,
    sts: aws_sdk_sts::Client,
    keys: keys::Keys,
    balancers: target_groups::Balancers,
    region: String,
    /// The only account that may be changed.
    account: Option<String>,
    /// The account that the credentials are of, once it was asked for and found right.
    proven: tokio::sync::OnceCell<String>,
    made: late::Made,
    pace: Pace,
    clock: Clock,
}

fn https() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().tls_provider(Tls::Rustls(CryptoMode::Ring)).build_https()
}

/// An `http://` endpoint needs no CA certificates, which a bare machine does not have.
fn client_for(endpoint: Option<&str>) -> SharedHttpClient {
    match endpoint {
        Some(endpoint) if endpoint.starts_with("http://") => {
            aws_smithy_http_client::Builder::new().build_http()
        }
        Some(_) | None => https(),
    }
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_millis(CONNECT_MS_MAX))
        .read_timeout(Duration::from_millis(ATTEMPT_MS_MAX))
        .operation_attempt_timeout(Duration::from_millis(ATTEMPT_MS_MAX))
        .build()
}

/// Whether an endpoint is an account's.
///
/// One that is AWS's own (a VPC's, a dual-stack one) is EC2's alone; any other stands in for all
/// of AWS (AWS PrivateLink Guide, *Access AWS services through interface endpoints*).
pub fn is_of_aws(endpoint: &str) -> bool {
    let host = endpoint.split("://").nth(1).unwrap_or(endpoint);
    let host = host.split(['/', ':', '?']).next().unwrap_or(host);
    [".amazonaws.com", ".amazonaws.com.cn", ".api.aws"].iter().any(|end| host.ends_with(end))
}

fn bad_setting(message: String) -> Failure {
    Failure::new(FailureClass::InvalidInput, message)
}

impl Aws {
    /// Find region and credentials, by the standard chain where `config` does not name them.
    ///
    /// # Errors
    /// No region, no credentials, or an endpoint that is no address; nothing is asked of EC2 yet.
    pub async fn connect(config: AwsConfig, clock: Clock) -> Result<Self, Failure> {
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(https());
        if let Some(region) = &config.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(profile) = &config.profile {
            loader = loader.profile_name(profile);
        }
        Self::from_sdk(&loader.load().await, config, clock).await
    }

    /// The same with region and credentials found elsewhere; `config` still names the endpoint
    /// and the account.
    ///
    /// # Errors
    /// As [`Aws::connect`].
    pub async fn from_sdk(
        sdk: &SdkConfig,
        config: AwsConfig,
        clock: Clock,
    ) -> Result<Self, Failure> {
        let given = config.region.clone().filter(|region| !region.is_empty());
        let region = given.or_else(|| sdk.region().map(ToString::to_string));
        let Some(region) = region else {
            let message = "there is no AWS region: set `region` in the environment, AWS_REGION, or \
                 the profile's region";
            return Err(bad_setting(message.into()));
        };
        must_be_a_region(&region)?;
        if let Some(endpoint) = &config.endpoint
            && !["http://", "https://"].iter().any(|scheme| endpoint.starts_with(scheme))
        {
            return Err(bad_setting(format!(
                "`endpoint` is not an address: `{endpoint}` does not begin with https:// or http://"
            )));
        }
        must_have_credentials(sdk, &clock).await?;
        let sdk = sdk.to_builder().region(Region::new(region.clone()));
        let sdk = sdk.timeout_config(timeouts()).build();
        let never = RetryConfig::disabled();
        let some = RetryConfig::standard().with_max_attempts(READ_ATTEMPTS_MAX);
        let endpoint = config.endpoint.as_deref();
        let others = endpoint.filter(|endpoint| !is_of_aws(endpoint));
        Ok(Self {
            reads: ec2(&sdk, endpoint, some.clone()),
            effects: ec2(&sdk, endpoint, never),
            sts: sts(&sdk, others, some.clone()),
            balancers: target_groups::Balancers::new(&sdk, others, some),
            keys: keys::Keys::new(&sdk, others),
            region,
            account: config.account,
            proven: tokio::sync::OnceCell::new(),
            made: late::Made::default(),
            pace: Pace::default(),
            clock,
        })
    }

    /// The same, as patient as this.
    pub fn with_pace(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    /// The account that the credentials are of (AWS STS API Reference, *GetCallerIdentity*).
    async fn whose(&self) -> Result<String, Failure> {
        let answer = self.sts.get_caller_identity().send().await.map_err(RequestError::from);
        let answer = answer.map_err(|trouble| {
            let failure = trouble.failure("asking AWS whose the credentials are");
            let message = format!("{} (region {})", failure.message, self.region);
            Failure { message, ..failure }
        })?;
        let Some(found) = answer.account else {
            let message = "AWS did not tell whose the credentials are";
            return Err(Failure::new(FailureClass::Transient, message));
        };
        match &self.account {
            Some(wanted) if *wanted != found => {
                let message = format!(
                    "the AWS credentials are of account {found}, and the environment is of \
                     {wanted}; use credentials of {wanted}, or correct `account`"
                );
                Err(Failure::new(FailureClass::Denied, message).with_code("WrongAccount"))
            }
            Some(_) | None => Ok(found),
        }
    }

    /// Where the environment names an account, no other is ever changed.
    async fn must_be_its_account(&self) -> Result<(), Failure> {
        if self.account.is_some() {
            self.proven.get_or_try_init(|| self.whose()).await?;
        }
        Ok(())
    }
}

fn ec2(sdk: &SdkConfig, endpoint: Option<&str>, retry: RetryConfig) -> aws_sdk_ec2::Client {
    let mut config = aws_sdk_ec2::config::Builder::from(sdk).retry_config(retry);
    if let Some(endpoint) = endpoint {
        config = config.endpoint_url(endpoint);
    }
    let client = client_for(endpoint.or(sdk.endpoint_url()));
    aws_sdk_ec2::Client::from_conf(config.http_client(client).build())
}

fn sts(sdk: &SdkConfig, endpoint: Option<&str>, retry: RetryConfig) -> aws_sdk_sts::Client {
    let mut config = aws_sdk_sts::config::Builder::from(sdk).retry_config(retry);
    if let Some(endpoint) = endpoint {
        config = config.endpoint_url(endpoint);
    }
    let client = client_for(endpoint.or(sdk.endpoint_url()));
    aws_sdk_sts::Client::from_conf(config.http_client(client).build())
}

/// A name such as `eu-west-1` (AWS Regions and Availability Zones User Guide, *Regions*); a zone's
/// has a letter more.
fn must_be_a_region(name: &str) -> Result<(), Failure> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || !name.chars().all(is_plain) {
        let message = format!("`{name}` is not the name of an AWS region, such as `eu-west-1`");
        return Err(bad_setting(message));
    }
    let region = name.trim_end_matches(|c: char| c.is_ascii_lowercase());
    match region.len() + 1 == name.len() && region.ends_with(|c: char| c.is_ascii_digit()) {
        true => Err(bad_setting(format!("`{name}` is a zone; its region is `{region}`"))),
        false => Ok(()),
    }
}

async fn must_have_credentials(sdk: &SdkConfig, clock: &Clock) -> Result<(), Failure> {
    let none = aws_credential_types::provider::error::CredentialsError::not_loaded_no_source();
    let Some(provider) = sdk.credentials_provider() else {
        return Err(errors::no_credentials(&none));
    };
    let limit = Duration::from_millis(CREDENTIALS_MS_MAX);
    match clock.timeout(limit, provider.provide_credentials()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(errors::no_credentials(&error)),
        Err(_) => Err(errors::no_credentials(&none)),
    }
}

#[async_trait]
impl Provider for Aws {
    fn name(&self) -> &str {
        "aws"
    }

    fn serves(&self) -> &[Interface] {
        &[Interface::Ec2, Interface::Ebs]
    }

    async fn identity(&self) -> Result<Value, Failure> {
        let account = self.whose().await?;
        Ok(json!({ "provider": "aws", "account": account, "region": self.region }))
    }

    async fn read(&self, call: &Call) -> Result<Value, Failure> {
        self.answer(call).await
    }

    async fn may(&self, call: &Call) -> Result<(), Failure> {
        if call.class() == Class::Wait {
            return Ok(());
        }
        self.would_permit(call).await
    }

    async fn wait(&self, call: &Call) -> Result<Value, Failure> {
        self.wait_for(call).await
    }

    async fn perform(&self, call: &Call, context: &EffectContext) -> EffectOutcome {
        self.make(call, context).await
    }

    async fn settle(&self, call: &Call, context: &EffectContext) -> Settled {
        self.find_out(call, context).await
    }

    async fn import(&self, found: &mut Inventory) -> Result<(), Failure> {
        self.import_into(found).await
    }

    fn request_ms_max(&self) -> u64 {
        REQUEST_MS_MAX
    }

    /// As long as a lost answer is looked for (Amazon EC2 API Reference, *Eventual consistency in
    /// the Amazon EC2 API*).
    fn visible_after_ms(&self) -> u64 {
        self.pace.absent_ms()
    }

    async fn observe(&self, resource: &Resource) -> Result<Facts, Failure> {
        self.facts(resource).await
    }

    fn advice(&self, resource: &Resource, before: &Facts, now: &Facts) -> Advice {
        advice::advice(resource, before, now)
    }

    async fn stamped(&self, tokens: &[Token]) -> Result<Stamped, Failure> {
        let what = "searching AWS for an operation's stamps";
        let limit = Duration::from_millis(STAMPED_MS_MAX);
        match self.clock.timeout(limit, self.carrying(tokens)).await {
            Ok(Ok(found)) => Ok(Stamped { found, ..Stamped::default() }),
            Ok(Err(trouble)) => Err(trouble.failure(what)),
            Err(_) => {
                let message = format!("{what} took longer than {limit:?}");
                Err(Failure::new(FailureClass::Deadline, message))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_told_from_a_zone() {
        let table = [
            ("eu-west-1", None),
            ("us-gov-east-1", None),
            ("eu-west-1a", Some("its region is `eu-west-1`")),
            ("EU West", Some("is not the name of an AWS region")),
            ("", Some("is not the name of an AWS region")),
        ];
        for (name, wanted) in table {
            match (must_be_a_region(name), wanted) {
                (Ok(()), None) => {}
                (Err(failure), Some(wanted)) => assert!(failure.message.contains(wanted), "{name}"),
                (found, _) => panic!("{name}: {found:?}"),
            }
        }
    }

    #[test]
    fn an_endpoint_of_aws_is_not_asked_for_other_services() {
        assert!(is_of_aws("https://vpce-1.ec2.us-east-1.vpce.amazonaws.com"));
        assert!(is_of_aws("https://ec2.us-east-1.api.aws/"));
        assert!(!is_of_aws("http://127.0.0.1:5000"));
        assert!(!is_of_aws("http://localhost:5000/amazonaws.com"));
    }
}
