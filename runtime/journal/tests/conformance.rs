//! What every store must do, run on each.

use std::collections::BTreeMap;
use std::sync::Arc;
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
    }
}

fn runner(name: &str) -> RunnerId {
    RunnerId(name.into())
}

fn record(seq: u64, event: Event) -> Record {
    Record { seq: Seq(seq), at: UnixMs(seq), epoch: Epoch(1), event }
}

fn finished(status: FinalStatus) -> Event {
    Event::Finished { status, outputs: BTreeMap::new() }
}

async fn created(store: &dyn Store) -> (OperationId, Lease) {
    store.create(pinned(store), UnixMs(1), &runner("a")).await.unwrap()
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

    let other = store.take_lease(id, &runner("b")).await;
    assert!(matches!(other, Err(StoreError::LeaseHeld { .. })));
    store.release(&lease).await.unwrap();
    let taken = store.take_lease(id, &runner("b")).await.unwrap();
    assert_eq!(taken.epoch, Epoch(2));
    let stale = store.append(&lease, Seq(2), vec![record(3, Event::Committed)]).await;
    assert!(matches!(stale, Err(StoreError::StaleEpoch { .. })));
    store.append(&taken, Seq(2), vec![record(3, Event::Committed)]).await.unwrap();
    assert!(matches!(store.load(OperationId(999)).await, Err(StoreError::NotFound(_))));
}

async fn locks_are_all_or_none_and_end_with_the_operation(store: &dyn Store) {
    let (environment, at) = (EnvironmentName::from("local"), UnixMs(7));
    let ((one, first), (_, second)) = (created(store).await, created(store).await);
    let names = [LockName::from("db/a"), LockName::from("db/b")];
    let held = store.acquire_locks(&first, &environment, &names[1..], at).await.unwrap();
    assert_eq!(held, LockAnswer::Held);
    let busy = store.acquire_locks(&second, &environment, &names, at).await.unwrap();
    assert_eq!(busy, LockAnswer::Busy { name: names[1].clone(), owner: one, since: at });
    let mine = store.locks().await.unwrap().into_iter().filter(|row| row.owner != one);
    assert_eq!(mine.count(), 0, "none was taken");
    let elsewhere = EnvironmentName::from("production");
    let held = store.acquire_locks(&second, &elsewhere, &names, at).await.unwrap();
    assert_eq!(held, LockAnswer::Held, "locks are keyed by environment");

    let failed = vec![record(2, finished(FinalStatus::RollbackFailed))];
    store.append(&first, Seq(1), failed).await.unwrap();
    assert!(store.locks().await.unwrap().iter().any(|row| row.owner == one));
    let restored = vec![record(3, finished(FinalStatus::RolledBack))];
    store.append(&first, Seq(2), restored).await.unwrap();
    assert!(!store.locks().await.unwrap().iter().any(|row| row.owner == one));
    let listed = store.list().await.unwrap();
    let summary = listed.iter().find(|summary| summary.id == one).unwrap();
    assert_eq!((summary.finished, summary.last_seq), (Some(Ending::RolledBack), Seq(3)));
}

async fn requests_logs_and_blobs_are_kept(store: &dyn Store) {
    let (id, lease) = created(store).await;
    let cancel = Request::Cancel { actor: "ann".into(), reason: Some("wrong night".into()) };
    store.request(id, cancel.clone()).await.unwrap();
    assert_eq!(store.take_requests(&lease).await.unwrap(), vec![cancel]);
    assert_eq!(store.take_requests(&lease).await.unwrap(), vec![]);
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

async fn all(store: &dyn Store) {
    appends_are_in_sequence_and_under_a_lease(store).await;
    locks_are_all_or_none_and_end_with_the_operation(store).await;
    requests_logs_and_blobs_are_kept(store).await;
}

#[tokio::test]
async fn memory_conforms() {
    all(&Memory::open().unwrap()).await;
}

#[tokio::test]
async fn sqlite_conforms_and_is_there_again_when_opened_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (id, listed) = {
        let store = Sqlite::open(dir.path()).unwrap();
        all(&store).await;
        (store.id(), store.list().await.unwrap())
    };
    let store = Sqlite::open(dir.path()).unwrap();
    assert_eq!((store.id(), store.list().await.unwrap()), (id, listed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_refused_append_fails_nobody_elses() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Sqlite::open(dir.path()).unwrap());
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
    drop(Sqlite::open(dir.path()).unwrap());
    let raw = rusqlite::Connection::open(dir.path().join("journal.db")).unwrap();
    raw.pragma_update(None, "user_version", 99).unwrap();
    drop(raw);
    let error = Sqlite::open(dir.path()).err().unwrap();
    assert!(matches!(error, StoreError::Newer { found: 99, known: 1, .. }), "{error}");
}
