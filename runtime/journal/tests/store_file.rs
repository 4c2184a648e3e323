//! The store's file over time: leases that run out, older versions, files that can't be used.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use stepback_clock::{Clock, Virtual};
use stepback_core::event::{Cause, Event, FinalStatus, Pinned, Record};
use stepback_core::*;
use stepback_journal::*;

fn pinned() -> Pinned {
    Pinned {
        manifest_name: "m.toml".into(),
        manifest: "schema = 1".into(),
        inputs: BTreeMap::new(),
        environment: "local".into(),
        world: serde_json::Value::Null,
        plugins: BTreeMap::new(),
        locks: vec![],
        actor: "test".into(),
        store: StoreId("s".into()),
        grants: BTreeMap::new(),
        secrets: BTreeMap::new(),
        bounds: Default::default(),
        key: None,
    }
}

fn runner(name: &str) -> RunnerId {
    RunnerId(name.into())
}

fn started(epoch: u64) -> Vec<Record> {
    vec![Record { seq: Seq(2), at: UnixMs(2), epoch: Epoch(epoch), event: Event::Started }]
}

const TERMS: LeaseTerms = LeaseTerms { length_ms: 8_000, renew_every_ms: None };

#[tokio::test]
async fn a_runner_that_does_not_renew_is_taken_over_and_fenced() {
    let dir = tempfile::tempdir().unwrap();
    let time = Virtual::new(UnixMs(1));
    let pass = |ms| time.advance(Duration::from_millis(ms));
    // Two processes' worth of store; both runners live, one of them is stuck.
    let (stuck, other) = (
        Sqlite::open_with(dir.path(), TERMS, time.clock()).unwrap(),
        Sqlite::open_with(dir.path(), TERMS, time.clock()).unwrap(),
    );
    let (id, lease) = stuck.create(pinned().into(), UnixMs(1), &runner("stuck")).await.unwrap();
    let (kept, its_lease) =
        stuck.create(pinned().into(), UnixMs(1), &runner("stuck")).await.unwrap();
    pass(7_999);
    stuck.hold(&lease).await.unwrap();
    let held = other.take_lease(id, &runner("other"), 500).await;
    assert!(matches!(held, Err(StoreError::LeaseHeld { left_ms: Some(501), .. })), "{held:?}");
    pass(201);
    // It ran out, but what was asked of the world last may still be on its way.
    let held = other.take_lease(id, &runner("other"), 500).await;
    assert!(matches!(held, Err(StoreError::LeaseHeld { left_ms: Some(300), .. })), "{held:?}");
    pass(300);
    let taken = other.take_lease(id, &runner("other"), 500).await.unwrap();
    assert!(taken.last_alive.is_some(), "it is known when it was last renewed");
    let silent_ms = other.now().await.unwrap().since_ms(taken.silent_since);
    assert_eq!(silent_ms, 8_500, "whatever the system's clock says by now");
    assert_eq!(taken.lease.epoch, Epoch(2));

    let gone = stuck.hold(&lease).await;
    assert!(matches!(gone, Err(StoreError::StaleEpoch { .. })), "{gone:?}");
    let gone = stuck.append(&lease, Seq(1), started(1)).await;
    assert!(matches!(gone, Err(StoreError::StaleEpoch { .. })), "{gone:?}");
    // What nobody took is still its own, and fresh again once it has asked.
    stuck.hold(&its_lease).await.unwrap();
    let held = other.take_lease(kept, &runner("other"), 0).await;
    assert!(matches!(held, Err(StoreError::LeaseHeld { .. })), "{held:?}");
    let gone = stuck.hold(&lease).await;
    assert!(gone.is_err(), "asking for one lease does not bring back the other");
    other.append(&taken.lease, Seq(1), started(2)).await.unwrap();
}

/// The tables of version 1, as its program left them.
const VERSION_1: &str = "
CREATE TABLE store (id TEXT NOT NULL) STRICT;
CREATE TABLE operations (
    id INTEGER PRIMARY KEY AUTOINCREMENT, manifest TEXT NOT NULL, environment TEXT NOT NULL,
    created_at INTEGER NOT NULL, last_seq INTEGER NOT NULL, ending TEXT,
    epoch INTEGER NOT NULL, runner TEXT
) STRICT;
CREATE TABLE events (
    operation INTEGER NOT NULL REFERENCES operations(id), seq INTEGER NOT NULL,
    record TEXT NOT NULL, PRIMARY KEY (operation, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE locks (
    environment TEXT NOT NULL, name TEXT NOT NULL, owner INTEGER NOT NULL,
    since INTEGER NOT NULL, PRIMARY KEY (environment, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE requests (
    number INTEGER PRIMARY KEY AUTOINCREMENT, operation INTEGER NOT NULL, request TEXT NOT NULL
) STRICT;
CREATE TABLE blobs (digest TEXT PRIMARY KEY, bytes BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE logs (
    operation INTEGER NOT NULL, number INTEGER NOT NULL, line TEXT NOT NULL,
    PRIMARY KEY (operation, number)
) STRICT, WITHOUT ROWID;
INSERT INTO store (id) VALUES ('old-store');
PRAGMA user_version = 1;
";

fn write_version_1(dir: &Path) {
    let raw = rusqlite::Connection::open(dir.join("journal.db")).unwrap();
    raw.execute_batch("PRAGMA journal_mode = WAL").unwrap();
    raw.execute_batch(VERSION_1).unwrap();
    let created = Event::Created(pinned().into());
    for (id, second) in [(1, Event::Started), (2, Event::Committed)] {
        raw.execute(
            "INSERT INTO operations VALUES (?1, 'm.toml', 'local', 1, 2, NULL, 1, 'gone')",
            [id],
        )
        .unwrap();
        for (seq, event) in [(1, &created), (2, &second)] {
            let record =
                Record { seq: Seq(seq), at: UnixMs(seq), epoch: Epoch(1), event: event.clone() };
            let text = serde_json::to_string(&record).unwrap();
            let values = rusqlite::params![id, seq as i64, text];
            raw.execute("INSERT INTO events VALUES (?1, ?2, ?3)", values).unwrap();
        }
    }
}

#[tokio::test]
async fn a_store_of_version_1_is_taken_over_with_all_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    write_version_1(dir.path());
    for _ in 0..2 {
        let store = Sqlite::open(dir.path(), Clock::real()).unwrap();
        assert_eq!(store.id(), StoreId("old-store".into()));
        assert_eq!(store.list().await.unwrap().len(), 2);
        let records = store.load(OperationId(1)).await.unwrap();
        assert_eq!(records.len(), 2);
    }
    let store = Sqlite::open(dir.path(), Clock::real()).unwrap();
    let cancel = || Request::Cancel { actor: "ann".into(), reason: None };
    let asked = store.request(OperationId(1), cancel()).await.unwrap();
    assert_eq!(asked, Requested::Kept { is_run: false });
    let asked = store.request(OperationId(2), cancel()).await.unwrap();
    assert_eq!(asked, Requested::PastCommit, "worked out from the events");
    store.take_lease(OperationId(1), &runner("new"), 0).await.unwrap();
}

#[tokio::test]
async fn what_version_1_did_not_keep_is_worked_out_from_its_events() {
    let failed = Event::Finished {
        status: FinalStatus::RollbackFailed,
        outputs: BTreeMap::new(),
        unknown_outputs: BTreeMap::new(),
    };
    let rolls_back = || Event::RollbackStarted { cause: Cause::Failed, why: "a step".into() };
    let taken_up = Event::TakenUp { actor: "ann".into(), dead_ms: 1, secrets: BTreeMap::new() };
    let table = [
        (vec![rolls_back(), taken_up], Requested::RollingBack),
        (vec![rolls_back(), failed.clone()], Requested::Ended(Ending::RollbackFailed)),
        (
            vec![rolls_back(), failed, Event::RollbackResumed { actor: "ann".into() }],
            Requested::RollingBack,
        ),
    ];
    for (events, wanted) in table {
        let dir = tempfile::tempdir().unwrap();
        write_version_1(dir.path());
        let raw = rusqlite::Connection::open(dir.path().join("journal.db")).unwrap();
        for (seq, event) in (3..).zip(&events) {
            let record =
                Record { seq: Seq(seq), at: UnixMs(seq), epoch: Epoch(1), event: event.clone() };
            let values = rusqlite::params![seq as i64, serde_json::to_string(&record).unwrap()];
            raw.execute("INSERT INTO events VALUES (1, ?1, ?2)", values).unwrap();
        }
        let store = Sqlite::open(dir.path(), Clock::real()).unwrap();
        let cancel = |reason| Request::Cancel { actor: "ann".into(), reason };
        let asked = store.request(OperationId(1), cancel(None)).await.unwrap();
        assert_eq!(asked, wanted, "{events:?}");
        let other = store.request(OperationId(2), cancel(None)).await.unwrap();
        assert_eq!(other, Requested::PastCommit, "each operation has its own");
    }
}

#[tokio::test]
async fn a_version_that_can_t_be_taken_over_is_left_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    write_version_1(dir.path());
    let raw = rusqlite::Connection::open(dir.path().join("journal.db")).unwrap();
    raw.execute("ALTER TABLE events RENAME COLUMN record TO text", []).unwrap();
    let error = Sqlite::open(dir.path(), Clock::real()).err().unwrap();
    assert!(matches!(error, StoreError::Corrupt(_)), "{error}");
    let version: i64 = raw.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert_eq!(version, 1);
    assert!(raw.prepare("SELECT * FROM runners").is_err(), "nothing of version 2 is there");
}

#[tokio::test]
async fn a_record_that_can_t_be_read_is_in_nobody_else_s_way() {
    for broken in ["'{'", "'[42]'", "''"] {
        let dir = tempfile::tempdir().unwrap();
        write_version_1(dir.path());
        let raw = rusqlite::Connection::open(dir.path().join("journal.db")).unwrap();
        let set = format!("UPDATE events SET record = {broken} WHERE operation = 2 AND seq = 2");
        raw.execute(&set, []).unwrap();
        let store = Sqlite::open(dir.path(), Clock::real()).unwrap();
        assert_eq!(store.list().await.unwrap().len(), 2, "{broken}");
        assert_eq!(store.load(OperationId(1)).await.unwrap().len(), 2, "{broken}");
        let error = store.load(OperationId(2)).await.err().unwrap();
        let (id, seq) = match error {
            StoreError::Unreadable { id, seq, .. } => (id, seq),
            other => panic!("{broken}: {other}"),
        };
        assert_eq!((id, seq), (OperationId(2), Seq(2)), "{broken}");
    }
}

#[test]
fn a_file_that_is_no_store_is_told_by_kind() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("journal.db"), "this is a text, not a database".repeat(99))
        .unwrap();
    let error = Sqlite::open(dir.path(), Clock::real()).err().unwrap();
    assert!(matches!(error, StoreError::Corrupt(_)), "{error:?}");
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Sqlite::open(&file, Clock::real()).err().unwrap();
    assert!(matches!(error, StoreError::Unusable { .. }), "{error:?}");
}

/// Its lease is by a clock that is far ahead of this one, as in another view of the machine.
#[tokio::test]
async fn a_runner_that_is_shown_to_live_is_not_taken_over_by_another_clock() {
    let dir = tempfile::tempdir().unwrap();
    let (ahead, behind) = (Virtual::new(UnixMs(1)), Virtual::new(UnixMs(1)));
    ahead.advance(Duration::from_secs(864_000));
    let one = Sqlite::open_with(dir.path(), TERMS, ahead.clock()).unwrap();
    let two = Sqlite::open_with(dir.path(), TERMS, behind.clock()).unwrap();
    let (id, lease) = one.create(pinned().into(), UnixMs(1), &runner("one")).await.unwrap();
    let held = two.take_lease(id, &runner("two"), 0).await;
    assert!(matches!(held, Err(StoreError::LeaseHeld { left_ms: None, .. })), "{held:?}");
    one.hold(&lease).await.unwrap();
    // A machine that was started again has no program of before.
    drop(one);
    assert_eq!(two.take_lease(id, &runner("two"), 0).await.unwrap().lease.epoch, Epoch(2));
}

/// A trigger may leave out what is written, a view answer what nobody wrote, and so may a table of
/// the right name.
#[test]
fn what_stepback_never_makes_is_told_as_damage() {
    let made_anew = |table: &str, columns: &str| {
        format!("DROP TABLE {table}; CREATE TABLE {table} ({columns}) STRICT")
    };
    let ignoring = "id TEXT NOT NULL UNIQUE ON CONFLICT IGNORE";
    let generated = "number INTEGER PRIMARY KEY AUTOINCREMENT, operation INTEGER NOT NULL,
                     request TEXT NOT NULL, odd TEXT AS (request)";
    for (odd, wanted) in [
        (
            "CREATE TRIGGER t BEFORE INSERT ON events BEGIN SELECT RAISE(IGNORE); END".to_owned(),
            "Stepback did not make its trigger `t`",
        ),
        ("CREATE VIEW v AS SELECT 1".to_owned(), "Stepback did not make its view `v`"),
        ("CREATE UNIQUE INDEX i ON events (seq)".to_owned(), "Stepback did not make its index `i`"),
        (made_anew("store", ignoring), "its table `store` is not as Stepback made it"),
        (made_anew("requests", generated), "its table `requests` is not as Stepback made it"),
        ("ALTER TABLE locks ADD COLUMN odd TEXT".to_owned(), "its table `locks` is not"),
        ("DROP TABLE logs".to_owned(), "its table `logs` is gone"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        drop(Sqlite::open(dir.path(), Clock::real()).unwrap());
        let raw = rusqlite::Connection::open(dir.path().join("journal.db")).unwrap();
        raw.execute_batch(&odd).unwrap();
        let error = Sqlite::open(dir.path(), Clock::real()).err().expect(&odd);
        assert!(matches!(&error, StoreError::Corrupt(why) if why.contains(wanted)), "{error:?}");
    }
}

/// It is looked at before anything is changed in it.
#[test]
fn an_older_store_or_another_programs_that_is_odd_is_left_alone() {
    for (made, odd, wanted) in [
        (VERSION_1, "CREATE VIEW v AS SELECT 1", "Stepback did not make its view `v`"),
        ("", "CREATE TABLE theirs (id INTEGER)", "Stepback did not make its table `theirs`"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.db");
        let raw = rusqlite::Connection::open(&path).unwrap();
        raw.execute_batch(made).unwrap();
        raw.execute_batch(odd).unwrap();
        let schema = |raw: &rusqlite::Connection| -> String {
            let all = "SELECT group_concat(name || coalesce(sql, '')) FROM sqlite_schema";
            raw.query_row(all, [], |row| row.get(0)).unwrap()
        };
        let before = schema(&raw);
        let error = Sqlite::open(dir.path(), Clock::real()).err().expect(odd);
        assert!(matches!(&error, StoreError::Corrupt(why) if why.contains(wanted)), "{error:?}");
        assert_eq!(schema(&raw), before, "it was changed");
    }
}

/// What SQLite keeps for itself is nobody's doing.
#[test]
fn an_analyzed_store_is_as_good_as_any() {
    let dir = tempfile::tempdir().unwrap();
    drop(Sqlite::open(dir.path(), Clock::real()).unwrap());
    let raw = rusqlite::Connection::open(dir.path().join("journal.db")).unwrap();
    raw.execute_batch("ANALYZE; VACUUM").unwrap();
    Sqlite::open(dir.path(), Clock::real()).map(drop).unwrap();
}

/// One row that is damaged hides nothing else, and its own operation can still be given up.
#[tokio::test]
async fn a_damaged_row_is_in_nobodys_way() {
    for damage in [
        "UPDATE operations SET manifest = CAST(x'ff' AS TEXT) WHERE id = 1",
        "UPDATE operations SET epoch = -1 WHERE id = 1",
        "UPDATE operations SET last_seq = 9223372036854775807 WHERE id = 1",
        "UPDATE operations SET last_seq = 0 WHERE id = 1",
        "UPDATE operations SET ending = 'junk' WHERE id = 1",
        "UPDATE operations SET ending = CAST(x'ff' AS TEXT) WHERE id = 1",
        "UPDATE operations SET runner = CAST(x'ff' AS TEXT) WHERE id = 1",
        "INSERT INTO waiting (operation, environment, names, since)
             VALUES (1, CAST(x'ff' AS TEXT), '[]', 0)",
        "UPDATE locks SET name = CAST(x'ff' AS TEXT)",
        "UPDATE locks SET owner = 99",
        "UPDATE runners SET until_ms = 9000000000000000000",
        "UPDATE runners SET until_ms = -1",
        "INSERT INTO waiting (operation, environment, names, since) VALUES (1, 'local', '{', 0)",
        "INSERT INTO logs (operation, number, line) VALUES (1, 9223372036854775807, '{}')",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let time = Virtual::new(UnixMs(1));
        let open = || Sqlite::open_with(dir.path(), TERMS, time.clock()).unwrap();
        let names = [LockName("db".into())];
        let store = open();
        let (id, lease) = store.create(pinned().into(), UnixMs(1), &runner("gone")).await.unwrap();
        let local = EnvironmentName("local".into());
        store.acquire_locks(&lease, &local, &names, UnixMs(1), true).await.unwrap();
        store.append(&lease, Seq(1), started(1)).await.unwrap();
        drop(store);
        let file = rusqlite::Connection::open(dir.path().join("journal.db")).unwrap();
        file.execute_batch(damage).unwrap();
        time.advance(Duration::from_secs(60));

        let store = open();
        assert_eq!(store.list().await.unwrap().len(), 1, "{damage}");
        store.locks().await.unwrap();
        let (_, other) = store.create(pinned().into(), UnixMs(1), &runner("other")).await.unwrap();
        store.acquire_locks(&other, &local, &names, UnixMs(1), true).await.unwrap();
        let taken = store.take_lease(id, &runner("other"), 0).await;
        let lease = taken.unwrap_or_else(|error| panic!("{damage}: {error}")).lease;
        let abandoned = Event::Abandoned {
            actor: "ann".into(),
            reason: "it".into(),
            unknown: vec![],
            elsewhere: None,
        };
        let record = Record { seq: Seq(3), at: UnixMs(3), epoch: lease.epoch, event: abandoned };
        let given_up = store.append(&lease, Seq(2), vec![record]).await;
        given_up.unwrap_or_else(|error| panic!("{damage}: {error}"));
        assert!(store.locks().await.unwrap().iter().all(|lock| lock.owner != id), "{damage}");
    }
}
