//! What every provider must do, held against the simulated one: idempotence under a repeated
//! token, refusals in wrong states with their codes, lost answers settled, effects reversed.

use std::collections::BTreeMap;
use std::sync::Arc;
use stepback_clock::Clock;
use stepback_core::calls::Performance;
use stepback_core::reverse::{Reversal, Seen, reverse};
use stepback_core::step::{Change, EffectOutcome, PastEffect};
use stepback_core::*;
use stepback_provider::faults::Faults;
use stepback_provider::faulty::Faulty;
use stepback_provider::{EffectContext, Notes, Provider, Settled};
use stepback_simulated::Simulated;
use stepback_simulated::import;
use tokio_util::sync::CancellationToken;

const DEMO: &str = include_str!("../../../../operations/demo-world.toml");

struct Bench {
    world: Arc<Simulated>,
    /// The same with faults.
    faulty: Faulty,
    calls: std::cell::Cell<u32>,
    dir: tempfile::TempDir,
}

impl Bench {
    fn new(faults: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let faults: Vec<String> = faults.iter().map(|text| (*text).to_owned()).collect();
        let world = Arc::new(Simulated::open(dir.path(), DEMO, Clock::real()).unwrap());
        let faulty = Faulty::new(Arc::clone(&world) as _, Faults::parse(&faults).unwrap());
        Self { world, faulty, calls: std::cell::Cell::new(0), dir }
    }

    fn context(&self) -> EffectContext {
        self.calls.set(self.calls.get() + 1);
        EffectContext {
            store: StoreId("store".to_owned()),
            operation: OperationId(1),
            token: Token(format!("token-{}", self.calls.get())),
            epoch: Epoch(1),
            undo: false,
            cancel: CancellationToken::new(),
            looked: stepback_provider::looked::Looked::default(),
            notes: Notes::default(),
        }
    }

    async fn perform(&self, call: &Call) -> EffectOutcome {
        self.faulty.perform(call, &self.context()).await
    }

    async fn done(&self, call: &Call) {
        match self.perform(call).await {
            EffectOutcome::Done(_) => {}
            other => panic!("{}: {other:?}", call.function()),
        }
    }

    async fn code(&self, call: &Call) -> String {
        match self.perform(call).await {
            EffectOutcome::Refused(failure) => failure.code.expect("a code"),
            other => panic!("{} was not refused: {other:?}", call.function()),
        }
    }

    fn restorable(&self) -> String {
        self.world.load().unwrap().restorable()
    }
}

fn stop() -> Call {
    Call::Docker(DockerCall::StopContainer {
        host: "i-db-1".into(),
        container: "main".into(),
        grace_ms: 1,
    })
}

fn detach() -> Call {
    Call::Ebs(EbsCall::Detach { volume: "vol-db-main".into(), instance: "i-db-1".into() })
}

fn attach(instance: &str) -> Call {
    let (instance, device) = (instance.into(), "/dev/sdf".into());
    Call::Ebs(EbsCall::Attach { volume: "vol-db-main".into(), instance, device })
}

fn snapshot() -> Call {
    let tags = BTreeMap::new();
    Call::Ebs(EbsCall::CreateSnapshot {
        volume: "vol-db-main".into(),
        description: "d".into(),
        tags,
    })
}

#[tokio::test]
async fn wrong_states_are_refused_with_the_providers_codes() {
    let bench = Bench::new(&[]);
    assert_eq!(bench.code(&attach("i-db-2")).await, "VolumeInUse");
    assert_eq!(bench.code(&detach()).await, "IncorrectState", "it is mounted");
    bench.done(&stop()).await;
    bench.done(&detach()).await;
    assert_eq!(bench.code(&detach()).await, "IncorrectState", "it is detached");
    assert_eq!(bench.code(&attach("i-db-3")).await, "InvalidVolume.ZoneMismatch");
    assert_eq!(bench.code(&attach("i-none")).await, "InvalidInstanceID.NotFound");
    let shrink = Call::Ebs(EbsCall::ModifyVolume { volume: "vol-db-main".into(), size_gib: 10 });
    assert_eq!(bench.code(&shrink).await, "InvalidParameterValue");
    let grow = Call::Ebs(EbsCall::ModifyVolume { volume: "vol-db-main".into(), size_gib: 30 });
    bench.done(&grow).await;
    assert_eq!(bench.code(&grow).await, "VolumeModificationRateExceeded");
    let start = Call::Docker(DockerCall::StartContainer {
        host: "i-db-1".into(),
        container: "main".into(),
    });
    assert_eq!(bench.code(&start).await, "500", "its device is gone");
}

#[tokio::test]
async fn a_repeated_token_takes_effect_once() {
    let create = Call::Ebs(EbsCall::CreateVolume {
        zone: "us-east-1a".into(),
        size_gib: 4,
        volume_type: "gp3".into(),
        snapshot: None,
        tags: BTreeMap::new(),
        performance: Performance::default(),
        encrypted: false,
    });
    let bench = Bench::new(&[]);
    let context = bench.context();
    let first = bench.faulty.perform(&create, &context).await;
    let second = bench.faulty.perform(&create, &context).await;
    assert_eq!(first, second);
    let world = bench.world.load().unwrap();
    assert_eq!(world.volumes.len(), 2, "the demo's own and one more");
    assert_eq!(world.effects[&context.token.0].times, 1);
}

/// *CreateSnapshot* takes no client token (Amazon EC2 API Reference), so the same again is one
/// more: whoever lost an answer must look first.
#[tokio::test]
async fn where_the_api_knows_no_tokens_the_same_again_is_another() {
    let bench = Bench::new(&[]);
    let context = bench.context();
    for _ in 0..2 {
        bench.faulty.perform(&snapshot(), &context).await;
    }
    let world = bench.world.load().unwrap();
    assert_eq!(world.snapshots.len(), 3, "the demo's own and two more");
    assert_eq!(world.effects[&context.token.0].times, 2, "and it is counted");
}

#[tokio::test]
async fn what_is_not_listed_yet_is_not_taken_for_absent() {
    let lagging = format!("describe_lag_looks = 3\n{DEMO}");
    let world = Simulated::in_memory(&lagging, Clock::real()).unwrap();
    let context = Bench::new(&[]).context();
    assert!(matches!(world.perform(&snapshot(), &context).await, EffectOutcome::Done(_)));
    let settled = world.settle(&snapshot(), &context).await;
    assert!(matches!(settled, Settled::Done(_)), "{settled:?}");
    let other = EffectContext { token: Token("never-used".into()), ..context };
    assert_eq!(world.settle(&snapshot(), &other).await, Settled::NotHappened);
}

#[tokio::test]
async fn a_run_once_is_found_until_its_outcome_is_durable() {
    let spec = stepback_core::calls::ContainerSpec {
        image: "postgres:16".into(),
        command: vec!["true".into()],
        ..Default::default()
    };
    let run = Call::Docker(DockerCall::RunOnce { host: "i-db-1".into(), spec, timeout_ms: 1_000 });
    let bench = Bench::new(&["docker.run-once=lost"]);
    let (before, context) = (bench.restorable(), bench.context());
    let outcome = bench.faulty.perform(&run, &context).await;
    assert!(matches!(outcome, EffectOutcome::Unknown(_)), "{outcome:?}");
    let settled = bench.world.settle(&run, &context).await;
    assert!(matches!(settled, Settled::Done(_)), "{settled:?}");
    for _ in 0..2 {
        bench.world.forget(&run, &context).await;
        assert_eq!(bench.restorable(), before, "nothing of it is left");
    }
}

#[tokio::test]
async fn a_lost_answer_is_settled_by_asking() {
    let bench = Bench::new(&["ebs.create-snapshot#1=lost", "ebs.detach=refuse"]);
    let context = bench.context();
    let outcome = bench.faulty.perform(&snapshot(), &context).await;
    assert!(matches!(outcome, EffectOutcome::Unknown(_)));
    let settled = bench.world.settle(&snapshot(), &context).await;
    assert!(matches!(settled, Settled::Done(_)));
    let found = bench.world.stamped(std::slice::from_ref(&context.token)).await.unwrap().found;
    assert_eq!(found.len(), 1);
    bench.done(&stop()).await;
    let context = bench.context();
    let outcome = bench.faulty.perform(&detach(), &context).await;
    assert!(matches!(outcome, EffectOutcome::Refused(_)));
    assert_eq!(bench.world.settle(&detach(), &context).await, Settled::NotHappened);
}

#[tokio::test]
async fn an_older_epoch_is_refused() {
    let bench = Bench::new(&[]);
    let newer = EffectContext { epoch: Epoch(2), ..bench.context() };
    assert!(matches!(bench.faulty.perform(&snapshot(), &newer).await, EffectOutcome::Done(_)));
    assert_eq!(bench.code(&snapshot()).await, "StaleEpoch");
}

#[tokio::test]
async fn every_reversible_effect_goes_back_to_what_it_was() {
    let (host, volume) = (InstanceId::from("i-db-1"), VolumeId::from("vol-db-main"));
    let tag = Call::Ebs(EbsCall::Tag {
        volume: volume.clone(),
        key: "database".into(),
        value: "x".into(),
    });
    let untag = Call::Ebs(EbsCall::Untag { volume, key: "database".into() });
    let update = Call::Docker(DockerCall::UpdateContainer {
        host: host.clone(),
        container: "main".into(),
        restart: "no".into(),
    });
    let rename = Call::Docker(DockerCall::RenameContainer {
        host: host.clone(),
        container: "main".into(),
        to: "old".into(),
    });
    let create = Call::Docker(DockerCall::CreateVolume {
        host: host.clone(),
        volume: "scratch".into(),
        options: BTreeMap::new(),
    });
    let start_tag =
        Call::Ec2(Ec2Call::Tag { instance: host, key: "role".into(), value: "db".into() });
    let calls = [stop(), tag, untag, update, rename, create, start_tag, snapshot()];
    let bench = Bench::new(&[]);
    for call in calls {
        let was = bench.restorable();
        let context = bench.context();
        let effect = observed(&bench, &call, &context).await;
        assert_ne!(bench.restorable(), was, "{} changed nothing", call.function());
        let now = seen_now(&bench, &effect).await;
        let Reversal::Calls(inverse) = reverse(&effect, &now) else {
            panic!("{} has no inverse", call.function())
        };
        for call in &inverse {
            bench.done(call).await;
        }
        assert_eq!(bench.restorable(), was, "{} was not taken back", call.function());
        let now = seen_now(&bench, &effect).await;
        assert_eq!(reverse(&effect, &now), Reversal::NothingToDo, "safe to repeat");
    }
}

#[tokio::test]
async fn what_someone_else_changed_is_not_touched() {
    let bench = Bench::new(&[]);
    bench.done(&stop()).await;
    let effect = observed(&bench, &detach(), &bench.context()).await;
    bench.done(&attach("i-db-2")).await;
    let now = seen_now(&bench, &effect).await;
    let reversal = reverse(&effect, &now);
    assert!(matches!(&reversal, Reversal::Cannot(why) if why.contains("i-db-2")), "{reversal:?}");
}

async fn seen_now(bench: &Bench, effect: &PastEffect) -> Vec<Seen> {
    let mut now = vec![];
    for change in &effect.changes {
        let resource = change.resource.clone();
        let facts = bench.world.observe(&resource).await.unwrap();
        now.push(Seen { resource, facts, is_stamped: None });
    }
    now
}

/// Make an effect as the engine does: the facts before, the effect, its name, the facts after.
async fn observed(bench: &Bench, call: &Call, context: &EffectContext) -> PastEffect {
    let mut changes = vec![];
    for resource in call.resources(&context.token) {
        let before = bench.world.observe(&resource).await.unwrap();
        changes.push(Change { resource, before, after: None });
    }
    let outcome = bench.faulty.perform(call, context).await;
    assert!(matches!(outcome, EffectOutcome::Done(_)), "{outcome:?}");
    for change in &mut changes {
        if let Resource::Created { token, .. } = &change.resource {
            let found = bench.world.stamped(&[Token(token.clone())]).await.unwrap().found;
            change.resource = found[0].1.clone();
        }
        change.after = Some(bench.world.observe(&change.resource).await.unwrap());
    }
    let of = AttemptId { step: StepKey::plain("s"), direction: Direction::Do, attempt: Attempt(1) };
    let id = CallId { of, number: CallNumber(1) };
    PastEffect { id, call: call.clone(), token: context.token.clone(), outcome, changes }
}

/// What a world file says is not checked, and no number in it ends the program.
#[tokio::test]
async fn numbers_of_a_world_file_saturate() {
    let seed = DEMO
        .replacen("size_gib = 20\ntype = \"gp3\"", "size_gib = 4_000_000_000\ntype = \"gp2\"", 1)
        .replacen(
            "modification_cooldown_s = 21600",
            "modification_cooldown_s = 9_223_372_036_854_775_807",
            1,
        );
    let world = Simulated::in_memory(&seed, Clock::real()).unwrap();
    let volume = Resource::Volume { id: "vol-db-main".into() };
    assert_eq!(world.observe(&volume).await.unwrap().get("iops"), Some(&16_000.into()));
    let outcome = world.perform(&snapshot(), &Bench::new(&[]).context()).await;
    assert!(matches!(outcome, EffectOutcome::Done(_)), "{outcome:?}");
}

fn container(name: &str) -> Resource {
    Resource::Container { host: "i-db-1".into(), name: name.into() }
}

/// Of a world file, and of one that an older Stepback left on disk, nothing says which is which.
#[tokio::test]
async fn what_was_written_without_an_id_has_the_same_one_at_every_look() {
    let (one, other) = (Bench::new(&[]), Bench::new(&[]));
    for resource in [
        container("main"),
        Resource::DockerVolume { host: "i-db-1".into(), name: "vol-db-main".into() },
    ] {
        let first = one.world.observe(&resource).await.unwrap();
        assert!(first.identity().is_some(), "{first}");
        assert_eq!(other.world.observe(&resource).await.unwrap(), first);
    }
    let file = one.dir.path().join("world.json");
    let text = std::fs::read_to_string(&file).unwrap();
    let mut written: serde_json::Value = serde_json::from_str(&text).unwrap();
    let containers = &mut written["engines"]["i-db-1"]["containers"];
    containers["main"].as_object_mut().unwrap().remove("id").expect("it is kept on disk");
    std::fs::write(&file, written.to_string()).unwrap();
    let before = one.world.observe(&container("main")).await.unwrap();
    assert_eq!(one.world.observe(&container("main")).await.unwrap(), before);
    let (host, to) = ("i-db-1".into(), "old".into());
    one.done(&Call::Docker(DockerCall::RenameContainer { host, container: "main".into(), to }))
        .await;
    let renamed = one.world.observe(&container("old")).await.unwrap();
    assert_eq!(renamed.identity(), before.identity());
}

/// Comparing worlds, and copies of them, go by what there is, not by which it is.
#[tokio::test]
async fn a_world_is_the_same_whatever_the_ids_in_it_are() {
    let bench = Bench::new(&[]);
    let remove =
        Call::Docker(DockerCall::RemoveVolume { host: "i-db-1".into(), volume: "data".into() });
    let (host, volume, options) = ("i-db-1".into(), "data".into(), BTreeMap::new());
    let create = Call::Docker(DockerCall::CreateVolume { host, volume, options });
    let mut seen = vec![];
    for _ in 0..2 {
        bench.done(&create).await;
        let copy = toml::to_string(&import(&*bench.world).await.unwrap().world).unwrap();
        let made = Resource::DockerVolume { host: "i-db-1".into(), name: "data".into() };
        let facts = bench.world.observe(&made).await.unwrap();
        seen.push((bench.restorable(), copy, facts));
        bench.done(&remove).await;
    }
    assert_eq!((&seen[0].0, &seen[0].1), (&seen[1].0, &seen[1].1));
    assert!(seen[0].2.is_another(&seen[1].2));
}

/// What is made in a copy of a world is none of what was made in the original.
#[tokio::test]
async fn new_ids_are_new_in_a_copy_as_well() {
    let bench = Bench::new(&[]);
    bench.done(&snapshot()).await;
    let copy = import(&*bench.world).await.unwrap().world;
    let text = toml::to_string(&copy).unwrap();
    let world = Simulated::in_memory(&text, Clock::real()).unwrap();
    let outcome = world.perform(&snapshot(), &bench.context()).await;
    assert!(matches!(outcome, EffectOutcome::Done(_)), "{outcome:?}");
    assert_eq!(world.load().unwrap().snapshots.len(), copy.snapshots.len() + 1);
}

#[test]
fn faults_that_make_no_sense_are_refused() {
    let table = [
        ("ebs.atach=refuse", "did you mean `ebs.attach`?"),
        ("ebs.attach=explode", "there is no fault `explode`"),
        ("ebs.attach", "is not CALL[#N]=FAULT"),
        ("ebs.attach#0=refuse", "must be a number from 1"),
    ];
    for (text, wanted) in table {
        let error = Faults::parse(&[text.to_owned()]).unwrap_err();
        assert!(error.contains(wanted), "{text}: {error}");
    }
    let mut faults = Faults::parse(&["undo:ebs.attach#2=refuse".to_owned()]).unwrap();
    assert!(faults.next("ebs.attach", false).is_none());
    assert!(faults.next("ebs.attach", true).is_none());
    assert!(faults.next("ebs.attach", true).is_some());
}

/// An older image may be there by the name: it counts as pulled only if the registry says so.
#[tokio::test]
async fn a_pull_is_settled_by_what_the_registry_serves() {
    let bench = Bench::new(&["docker.pull-image=lost"]);
    let pull =
        Call::Docker(DockerCall::PullImage { host: "i-db-1".into(), image: "postgres:16".into() });
    let settled = bench.world.settle(&pull, &bench.context()).await;
    assert!(matches!(settled, Settled::Done(_)), "it is what is served: {settled:?}");
    let moved = bench.world.change(|world| {
        let served = world.registry.get_mut("postgres:16").expect("it is served");
        served.digest = "sha256:17".to_owned();
        Ok(())
    });
    moved.expect("a world");
    assert_eq!(bench.world.settle(&pull, &bench.context()).await, Settled::NotHappened);
    assert!(matches!(bench.perform(&pull).await, EffectOutcome::Unknown(_)));
    assert!(matches!(bench.world.settle(&pull, &bench.context()).await, Settled::Done(_)));
}
