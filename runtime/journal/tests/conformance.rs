//! What every store must do, run on each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use stepback_clock::{Clock, Virtual};
use stepback_core::event::{Event, FinalStatus, Pinned, Record};
use stepback_core::*;
use stepback_journal::*;

fn pinned(store: &dyn Store) -> Pinned {
    Pinned {
        manifest_name: "m.toml".into(),
        manifest: "schema = 1".into(),
        inputs: BTreeMap::new(),
        environment: "local".into(),
        world: serde_json::Value::Null,
        plugins: BTreeMap::new(),
        locks: vec![],
        actor: "test".into(),
        store: store.id(),
        grants: BTreeMap::new(),
        secrets: BTreeMap::new(),
        bounds: Default::default(),
        key: None,
    }
}

fn runner(name: &str) -> RunnerId {
    RunnerId(name.into())
}

fn record(seq: u64, event: Event) -> Record {
    Record { seq: Seq(seq), at: UnixMs(seq), epoch: Epoch(1), event }
}

fn finished(status: FinalStatus) -> Event {
    Event::Finished { status, outputs: BTreeMap::new(), unknown_outputs: BTreeMap::new() }
}

async fn created(store: &dyn Store) -> (OperationId, Lease) {
    store.create(pinned(store).into(), UnixMs(1), &runner("a")).await.unwrap()
}

async fn appends_are_in_sequence_and_under_a_lease(store: &dyn Store) {
    let (id, lease) = created(store).await;
    store.append(&lease, Seq(1), vec![record(2, Event::Started)]).await.unwrap();
    let again = store.append(&lease, Seq(1), vec![record(2, Event::Committed)]).await;
    assert!(matches!(again, Err(StoreError::WrongSequence { last: Seq(2), .. })), "{again:?}");
    let gap = vec![record(3, Event::Committed), record(5, Event::Started)];
    assert!(store.append(&lease, Seq(2), gap).await.is_err());
    let records = store.load(id).await.unwrap();
    assert_eq!(records.len(), 2, "a refused append leaves nothing behind");
    assert_eq!(records[1], record(2, Event::Started));

    store.hold(&lease).await.unwrap();
    let other = store.take_lease(id, &runner("b"), 0).await;
    assert!(matches!(other, Err(StoreError::LeaseHeld { .. })));
    assert!(summary(store, id).await.is_run);
    assert_eq!(summary(store, id).await.left_at, None);
    store.release(&lease, UnixMs(9)).await.unwrap();
    assert!(!summary(store, id).await.is_run);
    assert_eq!(summary(store, id).await.left_at, Some(UnixMs(9)));
    let Takeover { lease: taken, last_alive, .. } =
        store.take_lease(id, &runner("b"), 0).await.unwrap();
    assert_eq!((taken.epoch, last_alive), (Epoch(2), Some(UnixMs(9))));
    let gone = store.hold(&lease).await;
    assert!(matches!(gone, Err(StoreError::StaleEpoch { .. })), "{gone:?}");
    assert!(store.release(&lease, UnixMs(10)).await.is_err());
    let stale = store.append(&lease, Seq(2), vec![record(3, Event::Committed)]).await;
    assert!(matches!(stale, Err(StoreError::StaleEpoch { .. })));
    store.append(&taken, Seq(2), vec![record(3, Event::Committed)]).await.unwrap();
    assert!(matches!(store.load(OperationId(999)).await, Err(StoreError::NotFound(_))));
}

async fn summary(store: &dyn Store, id: OperationId) -> Summary {
    let all = store.list().await.unwrap();
    all.into_iter().find(|summary| summary.id == id).unwrap()
}

async fn locks_are_all_or_none_and_end_with_the_operation(store: &dyn Store) {
    let (environment, at) = (EnvironmentName::from("local"), UnixMs(7));
    let ((one, first), (_, second)) = (created(store).await, created(store).await);
    let names = [LockName::from("db/a"), LockName::from("db/b")];
    let held = store.acquire_locks(&first, &environment, &names[1..], at, true).await.unwrap();
    assert_eq!(held, LockAnswer::Held);
    let busy = store.acquire_locks(&second, &environment, &names, at, false).await.unwrap();
    let holds = Busy { name: names[1].clone(), by: one, since: at, how: BusyHow::Holds };
    assert_eq!(busy, LockAnswer::Busy(holds));
    let mine = store.locks().await.unwrap().into_iter().filter(|row| row.owner != one);
    assert_eq!(mine.count(), 0, "none was taken");
    let elsewhere = EnvironmentName::from("production");
    let held = store.acquire_locks(&second, &elsewhere, &names, at, true).await.unwrap();
    assert_eq!(held, LockAnswer::Held, "locks are keyed by environment");

    let failed = vec![record(2, finished(FinalStatus::RollbackFailed))];
    store.append(&first, Seq(1), failed).await.unwrap();
    assert!(store.locks().await.unwrap().iter().any(|row| row.owner == one));
    let busy = store.acquire_locks(&second, &environment, &names, at, true).await.unwrap();
    assert!(matches!(busy, LockAnswer::Busy(Busy { how: BusyHow::StandsStill, .. })), "{busy:?}");
    let restored = vec![record(3, finished(FinalStatus::RolledBack))];
    store.append(&first, Seq(2), restored).await.unwrap();
    assert!(!store.locks().await.unwrap().iter().any(|row| row.owner == one));
    let summary = summary(store, one).await;
    assert_eq!((summary.finished, summary.last_seq), (Some(Ending::RolledBack), Seq(3)));
}

/// First come, first served; who is dead is skipped, and who has ended is no longer in line.
async fn locks_are_given_in_the_order_of_asking(store: &dyn Store) {
    let (environment, at) = (EnvironmentName::from("line"), UnixMs(7));
    let names = [LockName::from("x"), LockName::from("y")];
    let mut all = vec![];
    for _ in 0..4 {
        all.push(created(store).await);
    }
    let ask = async |nth: usize, names: &[LockName]| {
        let asked = store.acquire_locks(&all[nth].1, &environment, names, at, true).await;
        match asked.unwrap() {
            LockAnswer::Held => None,
            LockAnswer::Busy(busy) => Some((busy.by, busy.how)),
        }
    };
    assert_eq!(ask(0, &names).await, None);
    assert_eq!(ask(1, &names).await, Some((all[0].0, BusyHow::Holds)));
    assert_eq!(ask(2, &names).await, Some((all[0].0, BusyHow::Holds)));
    assert_eq!(ask(3, &names[1..]).await, Some((all[0].0, BusyHow::Holds)));
    assert_eq!(ask(0, &names).await, None, "whoever has them stands in no line");
    let waiting: Vec<_> = all[1..].iter().map(|(id, _)| *id).collect();
    let rows = store.locks().await.unwrap();
    let row = |name: &LockName| rows.iter().find(|row| row.name == *name).unwrap();
    assert_eq!(row(&names[0]).waiting, waiting[..2]);
    assert_eq!(row(&names[1]).waiting, waiting);

    let ended = vec![record(2, finished(FinalStatus::Succeeded))];
    store.append(&all[0].1, Seq(1), ended).await.unwrap();
    assert_eq!(ask(2, &names).await, Some((all[1].0, BusyHow::WaitsBefore)));
    // The first in line goes away, so the next one is served.
    store.release(&all[1].1, at).await.unwrap();
    assert_eq!(ask(3, &names[1..]).await, Some((all[2].0, BusyHow::WaitsBefore)));
    assert_eq!(ask(2, &names).await, None);
    let refused = vec![record(2, Event::Refused { reasons: vec![] })];
    store.append(&all[3].1, Seq(1), refused).await.unwrap();
    let waiting: Vec<_> = store.locks().await.unwrap().into_iter().map(|row| row.waiting).collect();
    assert!(waiting.iter().all(|line| !line.contains(&all[3].0)), "{waiting:?}");
}

async fn a_cancel_and_the_commit_point_know_of_each_other(store: &dyn Store) {
    let cancel = || Request::Cancel { actor: "ann".into(), reason: Some("wrong night".into()) };
    let (id, lease) = created(store).await;
    let asked = store.request(id, cancel()).await.unwrap();
    assert_eq!(asked, Requested::Kept { is_run: true });
    // It is kept until it is an event, however often it is read.
    for _ in 0..2 {
        assert_eq!(store.requests(&lease).await.unwrap(), vec![cancel()]);
    }
    let commit = vec![record(2, Event::Committed)];
    let refused = store.append(&lease, Seq(1), commit).await;
    assert!(matches!(refused, Err(StoreError::Requested(_))), "{refused:?}");
    assert_eq!(store.load(id).await.unwrap().len(), 1, "nothing of it is written");
    let event = Event::CancelRequested { actor: "ann".into(), reason: None };
    store.append(&lease, Seq(1), vec![record(2, event)]).await.unwrap();
    assert_eq!(store.requests(&lease).await.unwrap(), vec![]);
    let why = String::new();
    let event = Event::RollbackStarted { cause: stepback_core::event::Cause::Cancelled, why };
    store.append(&lease, Seq(2), vec![record(3, event)]).await.unwrap();
    assert_eq!(store.request(id, cancel()).await.unwrap(), Requested::RollingBack);
    let ended = vec![record(4, finished(FinalStatus::RollbackFailed))];
    store.append(&lease, Seq(3), ended).await.unwrap();
    let ended = Requested::Ended(Ending::RollbackFailed);
    assert_eq!(store.request(id, cancel()).await.unwrap(), ended);

    let (id, lease) = created(store).await;
    let commit = vec![record(2, Event::Committed)];
    store.append(&lease, Seq(1), commit).await.unwrap();
    assert_eq!(store.request(id, cancel()).await.unwrap(), Requested::PastCommit);
    let nobody = store.request(OperationId(999), cancel()).await;
    assert!(matches!(nobody, Err(StoreError::NotFound(_))));
}

async fn a_runner_hears_of_the_requests_for_its_operation(store: &dyn Store) {
    let cancel = || Request::Cancel { actor: "ann".into(), reason: None };
    let ((_, first), (id, second)) = (created(store).await, created(store).await);
    let (mut others, mut own) = (store.until_requested(&first), store.until_requested(&second));
    tokio::select! {
        biased;
        _ = &mut others => panic!("nothing was asked"),
        _ = &mut own => panic!("nothing was asked"),
        () = Clock::real().sleep(Duration::from_millis(1)) => {}
    }
    store.request(id, cancel()).await.unwrap();
    let asked = tokio::select! {
        biased;
        _ = others => panic!("another operation is meant"),
        asked = own => asked,
    };
    assert_eq!(asked.unwrap(), vec![cancel()]);
    // It is kept until it is an event.
    assert_eq!(store.until_requested(&second).await.unwrap(), vec![cancel()]);
}

async fn an_incomplete_rollback_can_be_taken_up_or_accepted(store: &dyn Store) {
    let environment = EnvironmentName::from("again");
    let (id, lease) = created(store).await;
    let names = [LockName::from("db")];
    let held = store.acquire_locks(&lease, &environment, &names, UnixMs(1), true).await;
    assert_eq!(held.unwrap(), LockAnswer::Held);
    let failed = || finished(FinalStatus::RollbackFailed);
    store.append(&lease, Seq(1), vec![record(2, failed())]).await.unwrap();
    let again = Event::RollbackResumed { actor: "ann".into() };
    store.append(&lease, Seq(2), vec![record(3, again)]).await.unwrap();
    assert_eq!(summary(store, id).await.finished, None, "it goes on");
    store.append(&lease, Seq(3), vec![record(4, failed())]).await.unwrap();
    assert!(store.locks().await.unwrap().iter().any(|row| row.owner == id));
    let accepted = Event::Accepted { actor: "ann".into(), reason: "known".into() };
    store.append(&lease, Seq(4), vec![record(5, accepted)]).await.unwrap();
    assert_eq!(summary(store, id).await.finished, Some(Ending::Accepted));
    assert!(!store.locks().await.unwrap().iter().any(|row| row.owner == id));
}

async fn logs_and_blobs_are_kept(store: &dyn Store) {
    let (id, _) = created(store).await;
    let line = |text: &str| LogLine {
        at: UnixMs(1),
        step: Some(StepKey::plain("s")),
        level: "info".into(),
        text: text.into(),
    };
    store.append_logs(id, vec![line("one"), line("two")]).await.unwrap();
    store.append_logs(id, vec![line("three")]).await.unwrap();
    assert_eq!(store.logs(id, 1).await.unwrap(), vec![line("two"), line("three")]);
    let digest = PluginDigest::from("d1");
    store.put_blob(&digest, b"bytes").await.unwrap();
    store.put_blob(&digest, b"other").await.unwrap();
    assert_eq!(store.get_blob(&digest).await.unwrap().as_deref(), Some(&b"bytes"[..]));
    assert_eq!(store.get_blob(&"none".into()).await.unwrap(), None);
}

async fn a_takeover_is_told_by_the_stores_clock(store: &dyn Store) {
    let before = store.now().await.unwrap();
    let (id, lease) = created(store).await;
    store.release(&lease, UnixMs(9)).await.unwrap();
    let taken = store.take_lease(id, &runner("b"), 0).await.unwrap();
    let now = store.now().await.unwrap();
    assert!(before <= taken.silent_since && taken.silent_since <= now, "{taken:?} {now:?}");
}

async fn all(store: &dyn Store) {
    appends_are_in_sequence_and_under_a_lease(store).await;
    locks_are_all_or_none_and_end_with_the_operation(store).await;
    locks_are_given_in_the_order_of_asking(store).await;
    a_cancel_and_the_commit_point_know_of_each_other(store).await;
    a_runner_hears_of_the_requests_for_its_operation(store).await;
    an_incomplete_rollback_can_be_taken_up_or_accepted(store).await;
    logs_and_blobs_are_kept(store).await;
    a_takeover_is_told_by_the_stores_clock(store).await;
}

/// Only the clock that it was given passes for a store, whatever time it is elsewhere.
#[tokio::test]
async fn a_store_goes_by_the_clock_that_it_was_given() {
    let (dir, time) = (tempfile::tempdir().unwrap(), Virtual::new(UnixMs(1)));
    let memory = Memory::open(time.clock()).unwrap();
    let terms = LeaseTerms { length_ms: 8_000, renew_every_ms: None };
    let sqlite = Sqlite::open_with(dir.path(), terms, time.clock()).unwrap();
    for store in [&memory as &dyn Store, &sqlite] {
        let began = store.now().await.unwrap();
        time.advance(Duration::from_millis(1_234));
        assert_eq!(store.now().await.unwrap().since_ms(began), 1_234);
        time.set_unix(UnixMs(99));
        assert_eq!(store.now().await.unwrap().since_ms(began), 1_234, "it can't be set");
    }
}

#[tokio::test]
async fn memory_conforms() {
    all(&Memory::open(Clock::real()).unwrap()).await;
}

#[tokio::test]
async fn sqlite_conforms_and_is_there_again_when_opened_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (id, mut listed) = {
        let store = Sqlite::open(dir.path(), Clock::real()).unwrap();
        all(&store).await;
        (store.id(), store.list().await.unwrap())
    };
    // Its runners have ended with it, and it is known since when.
    let store = Sqlite::open(dir.path(), Clock::real()).unwrap();
    let mut again = store.list().await.unwrap();
    let has_ended = |summary: &Summary| summary.finished.is_some();
    assert!(again.iter().all(|summary| summary.left_at.is_some() != has_ended(summary)));
    for summary in listed.iter_mut().chain(&mut again) {
        (summary.is_run, summary.left_at) = (false, None);
    }
    assert_eq!((store.id(), again), (id, listed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_refused_append_fails_nobody_elses() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Sqlite::open(dir.path(), Clock::real()).unwrap());
    let mut tasks = vec![];
    for i in 0..64u64 {
        let (_, lease) = created(&*store).await;
        let store = Arc::clone(&store);
        let seq = if i % 2 == 0 { 2 } else { 9 };
        let append = vec![record(seq, Event::Started)];
        tasks.push(async move { store.append(&lease, Seq(1), append).await.is_ok() });
    }
    let before = store.commits();
    let tasks: Vec<_> = tasks.into_iter().map(tokio::spawn).collect();
    for (i, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.await.unwrap(), i % 2 == 0, "append {i}");
    }
    assert!(store.commits() - before < 64, "many appends share a commit");
}

#[test]
fn a_newer_store_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(Sqlite::open(dir.path(), Clock::real()).unwrap());
    let raw = rusqlite::Connection::open(dir.path().join("journal.db")).unwrap();
    raw.pragma_update(None, "user_version", 99).unwrap();
    drop(raw);
    let error = Sqlite::open(dir.path(), Clock::real()).err().unwrap();
    assert!(matches!(error, StoreError::Newer { found: 99, known: 2, .. }), "{error}");
}
