//! What every test against moto begins with.

use crate::moto::Moto;
use crate::proxy::Proxy;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use stepback_aws::{Aws, AwsConfig, Pace};
use stepback_clock::Clock;
use stepback_core::calls::Performance;
use stepback_core::reverse::Seen;
use stepback_core::step::{Change, EffectOutcome, PastEffect};
use stepback_core::*;
use stepback_provider::{EffectContext, Provider};
use tokio_util::sync::CancellationToken;

pub const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
pub const SECRET_KEY: &str = "wJalrXUtnFEMI-the-secret-key";
pub const SESSION: &str = "FwoGZXIvYXdzE-the-session-token";
pub const ZONE: &str = "us-east-1a";

/// moto changes at once what takes AWS minutes.
pub const PACE: Pace = Pace {
    poll_ms: 2,
    poll_ms_max: 20,
    effect_ms_max: 20_000,
    steady_ms_max: 20_000,
    absent_looks: 4,
};

pub type Tags = BTreeMap<String, String>;

pub fn tags(pairs: &[(&str, &str)]) -> Tags {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// A token as [`Token::derive`] makes them, never used before.
pub fn token() -> Token {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let of = AttemptId { step: StepKey::plain("s"), direction: Direction::Do, attempt: Attempt(1) };
    let id = CallId { of, number: CallNumber(1) };
    let store = StoreId(format!("store-{}", std::process::id()));
    Token::derive(&store, OperationId(NEXT.fetch_add(1, Ordering::SeqCst)), &id)
}

pub fn context() -> EffectContext {
    EffectContext {
        store: StoreId("store".to_owned()),
        operation: OperationId(7),
        token: token(),
        epoch: Epoch(1),
        undo: false,
        cancel: CancellationToken::new(),
        looked: stepback_provider::looked::Looked::default(),
        notes: stepback_provider::Notes::default(),
    }
}

/// No failure quotes a credential.
pub fn assert_keeps_secrets(failure: &Failure) {
    let text = format!("{failure:?}");
    for secret in [ACCESS_KEY, SECRET_KEY, SESSION] {
        assert!(!text.contains(secret), "{text}");
    }
}

/// Region and credentials as a profile would give them.
pub fn sdk(region: &str) -> aws_config::SdkConfig {
    let session = Some(SESSION.to_owned());
    let keys =
        aws_credential_types::Credentials::new(ACCESS_KEY, SECRET_KEY, session, None, "test");
    aws_config::SdkConfig::builder()
        .behavior_version(aws_config::BehaviorVersion::latest())
        .region(aws_config::Region::new(region.to_owned()))
        .credentials_provider(aws_credential_types::provider::SharedCredentialsProvider::new(keys))
        .build()
}

pub async fn aws_at(endpoint: &str, account: Option<&str>) -> Aws {
    let config = AwsConfig {
        endpoint: Some(endpoint.to_owned()),
        account: account.map(str::to_owned),
        ..AwsConfig::default()
    };
    Aws::from_sdk(&sdk("us-east-1"), config, Clock::real()).await.unwrap().with_pace(PACE)
}

/// The provider, with a proxy between it and moto.
pub struct Bench {
    pub aws: Aws,
    pub proxy: Proxy,
    _moto: Arc<Moto>,
}

impl Bench {
    pub async fn new() -> Self {
        Self::of_account(None).await
    }

    pub async fn of_account(account: Option<&str>) -> Self {
        Self::before(Moto::shared(), account).await
    }

    /// With a world that no other test changes.
    pub async fn alone() -> Self {
        Self::before(Arc::new(Moto::start(&[])), None).await
    }

    async fn before(moto: Arc<Moto>, account: Option<&str>) -> Self {
        let proxy = Proxy::to(moto.address);
        let aws = aws_at(&format!("http://{}", proxy.address), account).await;
        Self { aws, proxy, _moto: moto }
    }

    pub async fn done(&self, call: &Call) -> Value {
        done(&self.aws, call).await
    }

    pub async fn refused(&self, call: &Call) -> Failure {
        match self.aws.perform(call, &context()).await {
            EffectOutcome::Refused(failure) => {
                assert_keeps_secrets(&failure);
                failure
            }
            other => panic!("{} was not refused: {other:?}", call.function()),
        }
    }

    pub async fn instance(&self) -> InstanceId {
        id_of(&self.done(&run_instance()).await).as_str().into()
    }

    pub async fn volume(&self) -> VolumeId {
        id_of(&self.done(&create_volume()).await).as_str().into()
    }
}

pub async fn done(world: &dyn Provider, call: &Call) -> Value {
    match world.perform(call, &context()).await {
        EffectOutcome::Done(answer) => answer,
        other => panic!("{}: {other:?}", call.function()),
    }
}

pub fn id_of(answer: &Value) -> String {
    answer["id"].as_str().expect("an answer with an id").to_owned()
}

pub fn run_instance() -> Call {
    Call::Ec2(Ec2Call::RunInstance {
        image: "ami-12345678".into(),
        instance_type: "t3.micro".into(),
        zone: ZONE.into(),
        tags: tags(&[("Name", "made")]),
    })
}

pub fn create_volume() -> Call {
    Call::Ebs(EbsCall::CreateVolume {
        zone: ZONE.into(),
        size_gib: 4,
        volume_type: "gp3".into(),
        snapshot: None,
        tags: tags(&[("database", "main")]),
        performance: Performance::default(),
        encrypted: false,
    })
}

pub fn snapshot_of(volume: &VolumeId) -> Call {
    let tags = tags(&[("database", "main")]);
    Call::Ebs(EbsCall::CreateSnapshot { volume: volume.clone(), description: "d".into(), tags })
}

pub fn attach(volume: &VolumeId, instance: &InstanceId) -> Call {
    let (volume, instance) = (volume.clone(), instance.clone());
    Call::Ebs(EbsCall::Attach { volume, instance, device: "/dev/sdf".into() })
}

pub fn detach(volume: &VolumeId, instance: &InstanceId) -> Call {
    Call::Ebs(EbsCall::Detach { volume: volume.clone(), instance: instance.clone() })
}

pub async fn seen_now(world: &dyn Provider, effect: &PastEffect) -> Vec<Seen> {
    let mut now = vec![];
    for change in &effect.changes {
        let resource = change.resource.clone();
        let facts = world.observe(&resource).await.unwrap();
        now.push(Seen { resource, facts, is_stamped: None });
    }
    now
}

pub fn facts_of(seen: &[Seen]) -> Vec<(Resource, Facts)> {
    seen.iter().map(|one| (one.resource.clone(), one.facts.clone())).collect()
}

/// Make an effect as the engine does: the facts before, the effect, its name, the facts after.
pub async fn observed(world: &dyn Provider, call: &Call, context: &EffectContext) -> PastEffect {
    let mut changes = vec![];
    for resource in call.resources(&context.token) {
        let before = world.observe(&resource).await.unwrap();
        changes.push(Change { resource, before, after: None });
    }
    let outcome = world.perform(call, context).await;
    assert!(matches!(outcome, EffectOutcome::Done(_)), "{outcome:?}");
    for change in &mut changes {
        if let Resource::Created { token, .. } = &change.resource {
            let found = world.stamped(&[Token(token.clone())]).await.unwrap().found;
            change.resource = found[0].1.clone();
        }
        change.after = Some(world.observe(&change.resource).await.unwrap());
    }
    let of = AttemptId { step: StepKey::plain("s"), direction: Direction::Do, attempt: Attempt(1) };
    let id = CallId { of, number: CallNumber(1) };
    PastEffect { id, call: call.clone(), token: context.token.clone(), outcome, changes }
}
