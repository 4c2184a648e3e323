//! Defects on purpose: each is found, and named.

use crate::harness::{manifest, of, report};
use async_trait::async_trait;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use stepback_core::event::{Event, Record};
use stepback_core::step::EffectOutcome;
use stepback_core::{Call, EnvironmentName, Failure, FailureClass, LockName, Seq};
use stepback_engine::Mutant;
use stepback_journal::{Lease, Memory, Store, StoreError};
use stepback_provider::{Around, EffectContext, Provider};
use stepback_rehearse::{Rehearsal, Report};
use stepback_simulated::Simulated;

/// What a provider does wrong.
#[derive(Clone, Copy, PartialEq)]
enum Wrong {
    /// A look changes the world, and no journal knows of it.
    ChangesUnseen,
    /// The same request is carried out twice.
    Repeats,
    /// The second time something is asked for, it is done and said to be refused.
    SaysRefused,
}

struct Misbehaving {
    world: Arc<Simulated>,
    wrong: Wrong,
    made: AtomicU32,
}

#[async_trait]
impl Around for Misbehaving {
    fn inner(&self) -> &dyn Provider {
        &*self.world
    }

    async fn read(&self, call: &Call) -> Result<Value, Failure> {
        if self.wrong == Wrong::ChangesUnseen && call.function() == "ebs.find" {
            self.world.change(|world| {
                let volume = world.volumes.values_mut().next();
                volume.into_iter().for_each(|volume| {
                    volume.tags.insert("looked".into(), "at".into());
                });
                Ok(())
            })?;
        }
        self.world.read(call).await
    }

    async fn perform(&self, call: &Call, context: &EffectContext) -> EffectOutcome {
        let outcome = self.world.perform(call, context).await;
        let is_first = self.made.fetch_add(1, Ordering::SeqCst) == 0;
        match self.wrong {
            Wrong::Repeats => self.world.perform(call, context).await,
            Wrong::SaysRefused if is_first && matches!(outcome, EffectOutcome::Done(_)) => {
                EffectOutcome::Refused(Failure::new(FailureClass::Refused, "no, it says"))
            }
            Wrong::SaysRefused | Wrong::ChangesUnseen => outcome,
        }
    }
}

fn behind(mut rehearsal: Rehearsal, wrong: Wrong) -> Rehearsal {
    rehearsal.behind = Some(Arc::new(move |world| {
        Arc::new(Misbehaving { world, wrong, made: AtomicU32::new(0) })
    }));
    rehearsal
}

fn wrong(report: &Report) -> Vec<String> {
    let told = report.wrong.iter();
    told.map(|one| format!("{} {}: {}", one.case, one.ended.status, one.why.join("; "))).collect()
}

/// Nothing is wrong.
#[track_caller]
fn is_sound(report: &Report) {
    assert!(report.is_well(), "{:#?}", wrong(report));
}

/// Something is wrong, and that is said of it.
#[track_caller]
fn is_found(report: &Report, said: &str) {
    let all = wrong(report);
    assert!(all.iter().any(|why| why.contains(said)), "{said:?} in {all:#?}");
    assert!(!report.is_well());
}

/// It is no mistake, and is said of it.
#[track_caller]
fn is_weak(report: &Report, said: &str) {
    let all: Vec<&str> = report.weak.iter().map(|one| one.told.as_str()).collect();
    assert!(all.iter().any(|told| told.contains(said)), "{said:?} in {all:#?}");
}

/// Takes the locks again of whoever has ended.
struct KeepsLocks(Arc<Memory>);

#[async_trait]
impl stepback_journal::Around for KeepsLocks {
    fn inner(&self) -> &dyn Store {
        &*self.0
    }

    async fn append(
        &self,
        lease: &Lease,
        last: Seq,
        records: Vec<Record>,
    ) -> Result<(), StoreError> {
        let ended = records.iter().find(|one| matches!(one.event, Event::Finished { .. }));
        let at = ended.map(|one| one.at);
        self.inner().append(lease, last, records).await?;
        if let Some(at) = at {
            let (local, names) = (EnvironmentName("local".into()), [LockName("case".into())]);
            self.inner().acquire_locks(lease, &local, &names, at, false).await?;
        }
        Ok(())
    }
}

const TAGS: &str = r#"
[[steps]]
id = "one"
uses = "ebs/tag-volume"
with = { volume = "vol-db-main", key = "k", value = "1" }
[[steps]]
id = "two"
uses = "ebs/tag-volume"
with = { volume = "vol-db-main", key = "l", value = "2" }
"#;

#[test]
fn what_is_sound_is_told_to_be() {
    let report = report(&of(&manifest(TAGS), &[]));
    is_sound(&report);
    assert_eq!(report.not_fired, []);
    assert!(report.cases > 50 && report.distinct > 10, "{} {}", report.cases, report.distinct);
}

#[test]
fn an_undo_that_does_nothing() {
    let lying = r#"
[[steps]]
id = "lies"
uses = "testing/lying-undo"
with = { volume = "vol-db-main", key = "k", value = "1" }
[[steps]]
id = "then"
uses = "ebs/tag-volume"
with = { volume = "vol-db-main", key = "l", value = "2" }
"#;
    let report = report(&of(&manifest(lying), &[]));
    is_found(&report, "its rollback is incomplete, and nothing stood in the way of it");
}

#[test]
fn an_undo_that_takes_back_something_else() {
    let wrong_thing = r#"
[[steps]]
id = "does"
uses = "attack/attack"
[steps.with]
check = []
run = [{ call = "tag", volume = "vol-db-main", key = "k", value = "1" }]
undo = [{ call = "untag", volume = "vol-db-main", key = "database" }]
[[steps]]
id = "then"
uses = "ebs/tag-volume"
with = { volume = "vol-db-main", key = "l", value = "2" }
"#;
    let report = report(&of(&manifest(wrong_thing), &[]));
    is_found(&report, "ebs:volume/vol-db-main");
}

#[test]
fn an_effect_that_no_journal_sees() {
    let looks = r#"
[[steps]]
id = "find"
uses = "ebs/find-volume"
with = { tags = { database = "main" } }
[[steps]]
id = "snapshot"
uses = "ebs/create-snapshot"
with = { volume = "{{ steps.find.id }}" }
"#;
    let report = report(&behind(of(&manifest(looks), &[]), Wrong::ChangesUnseen));
    is_found(&report, "it says that all is restored");
}

#[test]
fn a_request_that_is_carried_out_twice() {
    let report = report(&behind(of(&manifest(TAGS), &[]), Wrong::Repeats));
    is_found(&report, "ebs.tag took place 2 times for one call");
}

#[test]
fn a_lock_that_is_never_released() {
    let mut rehearsal = of(&manifest(TAGS), &[]);
    rehearsal.behind_store = Some(Arc::new(|memory| Arc::new(KeepsLocks(memory))));
    is_found(&report(&rehearsal), "it has ended, and holds case");
}

#[test]
fn a_refusal_of_what_was_done() {
    // Where nothing else goes wrong, a second attempt finds it as it is to be.
    let retried = r#"
[[steps]]
id = "make"
uses = "ebs/create-volume"
with = { zone = "us-east-1a", size_gib = 4 }
retry = { attempts = 3, backoff = "1s..1s", on = ["refused"] }
"#;
    let report = report(&behind(of(&manifest(retried), &[]), Wrong::SaysRefused));
    is_found(&report, "nothing stood in the way of it: ebs:volume/");
}

#[test]
fn an_invariant_that_does_not_hold() {
    let always = "[[invariants]]\nname = \"up\"\nalways = \"running('other')\"\n";
    let report = report(&of(&manifest(&format!("{always}{TAGS}")), &[]));
    is_found(&report, "the invariant `up` does not hold before anything is done");
}

#[test]
fn an_invariant_that_is_broken_in_one_case_alone() {
    let stops = r#"
[[invariants]]
name = "one of them runs"
always = "running('main') or container('i-db-1', 'main').restart == 'unless-stopped'"
[[invariants]]
name = "tags are whole"
always = "volume('vol-db-main').tags.l is undefined or volume('vol-db-main').tags.k is defined"
"#;
    let wrong_order = r#"
[[steps]]
id = "one"
uses = "ebs/tag-volume"
with = { volume = "vol-db-main", key = "k", value = "1" }
[[steps]]
id = "two"
uses = "attack/attack"
[steps.with]
check = []
run = [{ call = "tag", volume = "vol-db-main", key = "l", value = "2" }]
undo = [{ call = "untag", volume = "vol-db-main", key = "k" }]
"#;
    let report = report(&of(&manifest(&format!("{stops}{wrong_order}")), &[]));
    is_found(&report, "the invariant `tags are whole` does not hold after ebs.untag");
    assert!(!report.wrong.iter().any(|one| one.case.0.is_empty()), "it holds where nothing fails");
}

#[test]
fn an_invariant_that_never_holds() {
    let sometimes = "[[invariants]]\nname = \"moved\"\nsometimes = \"running_on('main') == []\"\n";
    let report = report(&of(&manifest(&format!("{sometimes}{TAGS}")), &[]));
    assert_eq!(report.never_held, ["moved"]);
    assert!(!report.is_well());
}

const MOVE: &str = r#"
[[steps]]
id = "stop"
uses = "docker/stop-container"
phase = "downtime"
with = { host = "i-db-1", container = "main", grace = "1s" }
[[steps]]
id = "start"
uses = "docker/start-container"
phase = "downtime"
with = { host = "i-db-1", container = "main" }
"#;

#[test]
fn a_budget_that_is_too_small_for_its_own_rollback() {
    let with_budget = |budget: &str| {
        let text = format!("[downtime]\nbudget = \"{budget}\"\n{MOVE}");
        report(&of(&manifest(&text), &[]))
    };
    let quiet_ms = with_budget("1h").quiet.downtime_ms.expect("a downtime");
    is_sound(&with_budget("1h"));
    let tight = with_budget(&format!("{}ms", quiet_ms + 500));
    is_found(&tight, "and nothing kept it waiting");
}

#[test]
fn an_image_that_is_pulled_while_the_service_is_down() {
    let pulled = r#"
[[steps]]
id = "pull"
uses = "docker/pull-image"
phase = "downtime"
with = { host = "i-db-1", image = "postgres:17" }
"#;
    let report = report(&of(&manifest(&format!("{MOVE}{pulled}")), &[]));
    is_weak(&report, "`docker.pull-image` of `pull` is waited for while the service is down");
}

#[test]
fn a_volume_that_is_deleted_before_the_commit_point() {
    let deleted = r#"
[[steps]]
id = "spare"
uses = "ebs/delete-volume"
with = { volume = "vol-spare" }
irreversible = "nobody needs it"
[[steps]]
id = "then"
uses = "ebs/tag-volume"
with = { volume = "vol-db-main", key = "l", value = "2" }
"#;
    let mut rehearsal = of(&manifest(deleted), &[]);
    let spare = rehearsal.world.volumes["vol-db-main"].clone();
    let spare = stepback_simulated::world::Volume { attachments: vec![], ..spare };
    rehearsal.world.volumes.insert("vol-spare".into(), spare);
    let report = report(&rehearsal);
    is_sound(&report);
    is_weak(&report, "after `spare` nothing brings back what it did");
    assert_eq!(report.point_of_no_return.as_deref(), Some("spare"));
}

#[test]
fn a_volume_that_is_detached_before_its_container_stops() {
    let too_early = r#"
[[steps]]
id = "detach"
uses = "ebs/detach-volume"
phase = "downtime"
with = { volume = "vol-db-main", instance = "i-db-1" }
"#;
    let why =
        stepback_rehearse::rehearse(&of(&manifest(&format!("{too_early}{MOVE}")), &[]), &|_, _| {});
    let why = why.expect_err("it is not carried out").to_string();
    assert!(why.contains("detach"), "{why}");
}

#[test]
fn a_step_that_is_tried_again_and_leaves_what_it_did() {
    let leaves = r#"
[[steps]]
id = "make"
uses = "ebs/create-volume"
with = { zone = "us-east-1a", size_gib = 4 }
retry = { attempts = 3, backoff = "1s..1s" }
"#;
    let mut rehearsal = of(&manifest(leaves), &[]);
    is_sound(&report(&rehearsal));
    rehearsal.limits.mutant = Some(Mutant::UndoSkipped);
    is_found(&report(&rehearsal), "it succeeded, and ebs:volume/");
}
