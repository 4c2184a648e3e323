//! What was just created is not listed at once, as EC2 has it: whoever looks once and believes
//! that is found out, and whoever looks for as long as the provider says is not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use stepback_clock::Virtual;
use stepback_core::calls::Performance;
use stepback_core::step::EffectOutcome;
use stepback_core::*;
use stepback_provider::faults::Faults;
use stepback_provider::faulty::Faulty;
use stepback_provider::{EffectContext, Notes, Provider, Settled};
use stepback_simulated::Simulated;
use tokio_util::sync::CancellationToken;

const DEMO: &str = include_str!("../../../../operations/demo-world.toml");
/// More looks than anybody tries in a row.
const LAG_LOOKS: u64 = 50;

fn context(token: &str) -> EffectContext {
    EffectContext {
        store: StoreId("store".to_owned()),
        operation: OperationId(1),
        token: Token(token.to_owned()),
        epoch: Epoch(1),
        undo: false,
        cancel: CancellationToken::new(),
        looked: stepback_provider::looked::Looked::default(),
        notes: Notes::default(),
    }
}

fn tags() -> BTreeMap<String, String> {
    BTreeMap::from([("own".to_owned(), "yes".to_owned())])
}

/// What creates something, and what lists it.
fn creates() -> [(Call, Call); 3] {
    let volume = Call::Ebs(EbsCall::CreateVolume {
        zone: "us-east-1a".into(),
        size_gib: 4,
        volume_type: "gp3".into(),
        snapshot: None,
        tags: tags(),
        performance: Performance::default(),
        encrypted: false,
    });
    let (of, description) = ("vol-db-main".into(), "d".to_owned());
    let snapshot = Call::Ebs(EbsCall::CreateSnapshot { volume: of, description, tags: tags() });
    let instance = Call::Ec2(Ec2Call::RunInstance {
        image: "ami-1".into(),
        instance_type: "t3.micro".into(),
        zone: "us-east-1a".into(),
        tags: tags(),
    });
    [
        (volume, Call::Ebs(EbsCall::Find { tags: tags() })),
        (snapshot, Call::Ebs(EbsCall::FindSnapshots { tags: tags() })),
        (instance, Call::Ec2(Ec2Call::Find { tags: tags() })),
    ]
}

/// Whether the stamp, the facts by it, and the tags are found.
async fn is_listed(world: &Simulated, call: &Call, list: &Call, token: &Token) -> [bool; 3] {
    let stamped = world.stamped(std::slice::from_ref(token)).await.unwrap().found;
    let created = call.resources(token).remove(0);
    let facts = world.observe(&created).await.unwrap();
    let listed = world.read(list).await.unwrap();
    [!stamped.is_empty(), !facts.is_absent(), !listed.as_array().unwrap().is_empty()]
}

#[test]
fn a_stamp_is_found_when_the_delay_is_over_and_not_before() {
    let time = Virtual::new(UnixMs(1_790_000_000_000));
    time.runtime().unwrap().block_on(async {
        for (call, list) in creates() {
            let seed = format!("describe_lag_looks = {LAG_LOOKS}\n{DEMO}");
            let world = Simulated::in_memory(&seed, time.clock()).unwrap();
            let (function, context) = (call.function(), context("token"));
            let EffectOutcome::Done(answer) = world.perform(&call, &context).await else {
                panic!("{function}")
            };
            assert_eq!(is_listed(&world, &call, &list, &context.token).await, [false; 3]);
            let by_id = match &call {
                Call::Ec2(Ec2Call::RunInstance { .. }) => {
                    Call::Ec2(Ec2Call::Describe { instance: id(&answer).into() })
                }
                Call::Ebs(EbsCall::CreateVolume { .. }) => {
                    Call::Ebs(EbsCall::Describe { volume: id(&answer).into() })
                }
                _ => Call::Ebs(EbsCall::DescribeSnapshot { snapshot: id(&answer).into() }),
            };
            assert_eq!(world.read(&by_id).await.as_ref(), Ok(&answer), "{function}");
            let delay_ms = world.visible_after_ms();
            time.advance(Duration::from_millis(delay_ms - 1));
            assert_eq!(is_listed(&world, &call, &list, &context.token).await, [false; 3]);
            time.advance(Duration::from_millis(1));
            assert_eq!(is_listed(&world, &call, &list, &context.token).await, [true; 3]);
        }
    });
}

fn id(answer: &serde_json::Value) -> &str {
    answer["id"].as_str().unwrap()
}

#[test]
fn a_lost_answer_is_settled_only_when_the_delay_is_over() {
    let time = Virtual::new(UnixMs(1_790_000_000_000));
    time.runtime().unwrap().block_on(async {
        for (call, _) in creates() {
            let seed = format!("describe_lag_looks = {LAG_LOOKS}\n{DEMO}");
            let lost = Faults::parse(&[format!("{}=lost", call.function())]).unwrap();
            let world = Arc::new(Simulated::in_memory(&seed, time.clock()).unwrap());
            let world = Faulty::new(world, lost);
            let (function, made) = (call.function(), context("token"));
            let outcome = world.perform(&call, &made).await;
            assert!(matches!(outcome, EffectOutcome::Unknown(_)), "{function}: {outcome:?}");
            let settled = world.settle(&call, &made).await;
            assert!(matches!(settled, Settled::Done(_)), "{function}: {settled:?}");
            let settled = world.settle(&call, &context("never-used")).await;
            assert_eq!(settled, Settled::NotHappened, "{function}");
        }
    });
}

/// Engines list what they made at once, and so does a world without a delay: nobody waits there.
#[test]
fn without_a_delay_nobody_waits() {
    let time = Virtual::new(UnixMs(1_790_000_000_000));
    time.runtime().unwrap().block_on(async {
        let lagging = format!("describe_lag_looks = {LAG_LOOKS}\n{DEMO}");
        let volume = Call::Docker(DockerCall::CreateVolume {
            host: "i-db-1".into(),
            volume: "data".into(),
            options: BTreeMap::new(),
        });
        let clock = time.clock();
        for (seed, call) in [(lagging.as_str(), volume), (DEMO, creates()[0].0.clone())] {
            let world = Simulated::in_memory(seed, time.clock()).unwrap();
            let before = clock.now();
            assert_eq!(world.settle(&call, &context("t")).await, Settled::NotHappened);
            assert_eq!(clock.now(), before, "{}", call.function());
        }
        let world = Simulated::in_memory(DEMO, time.clock()).unwrap();
        assert_eq!(world.visible_after_ms(), 0);
    });
}

/// What an older Stepback wrote down counted looks; by now it is listed.
#[test]
fn an_older_world_is_still_read() {
    let seed = DEMO.replace(
        "[snapshots.snap-db-main-0]",
        "[snapshots.snap-db-main-0]\nunseen_looks = 2\nstamp = \"token\"",
    );
    let time = Virtual::new(UnixMs(1_790_000_000_000));
    let world = Simulated::in_memory(&seed, time.clock()).unwrap();
    let found = time.runtime().unwrap().block_on(world.stamped(&[Token("token".to_owned())]));
    assert_eq!(found.unwrap().found.len(), 1);
}
