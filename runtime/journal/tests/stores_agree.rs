//! All stores give the same answers and keep the same, whatever is appended, asked and locked.
//!
//! The runs are random and mostly illegal: what a store keeps must not rest on the order in which
//! the program happens to write.

use proptest::prelude::*;
use std::collections::BTreeMap;
use stepback_clock::Clock;
use stepback_core::event::{Cause, Event, FinalStatus, Pinned, Record};
use stepback_core::*;
use stepback_journal::*;

/// No lease runs out while a case is tried.
const TERMS: LeaseTerms = LeaseTerms { length_ms: 3_600_000, renew_every_ms: None };

const OPERATIONS: usize = 3;
const NAMES: [&str; 2] = ["db/a", "db/b"];
const RUNNERS: [&str; 2] = ["one", "other"];

/// Something that is done to an operation, by its place.
#[derive(Clone, Debug)]
enum Act {
    Append { of: usize, events: Vec<Event>, is_late: bool, gap_after: Option<usize> },
    Request { of: usize },
    Lock { of: usize, names: Vec<LockName>, wait: bool },
    Release { of: usize },
    Take { of: usize, runner: usize },
}

fn event() -> impl Strategy<Value = Event> {
    let (actor, reason) = (|| "ann".into(), || "known".to_owned());
    let finished = |status| {
        let (outputs, unknown_outputs) = (BTreeMap::new(), BTreeMap::new());
        Event::Finished { status, outputs, unknown_outputs }
    };
    let abandoned =
        Event::Abandoned { actor: actor(), reason: reason(), unknown: vec![], elsewhere: None };
    prop_oneof![
        3 => Just(Event::Started),
        1 => Just(Event::TakenUp { actor: actor(), dead_ms: 1, secrets: BTreeMap::new() }),
        1 => Just(Event::StepSkipped { step: StepKey::plain("s") }),
        2 => Just(Event::CancelRequested { actor: actor(), reason: None }),
        3 => Just(Event::Committed),
        2 => Just(Event::RollbackStarted { cause: Cause::Failed, why: "a step".into() }),
        2 => Just(Event::RollbackResumed { actor: actor() }),
        1 => Just(Event::Refused { reasons: vec![] }),
        1 => Just(finished(FinalStatus::Succeeded)),
        1 => Just(finished(FinalStatus::RolledBack)),
        2 => Just(finished(FinalStatus::RollbackFailed)),
        1 => Just(Event::Accepted { actor: actor(), reason: reason() }),
        1 => Just(abandoned),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let of = 0..OPERATIONS;
    let names = proptest::sample::subsequence(&NAMES[..], 1..=NAMES.len());
    let names = names.prop_map(|names| names.into_iter().map(LockName::from).collect());
    let run = proptest::collection::vec(event(), 0..5);
    let gap = proptest::option::weighted(0.1, 0..4usize);
    let append = (of.clone(), run, proptest::bool::weighted(0.1), gap);
    prop_oneof![
        6 => append.prop_map(|(of, events, is_late, gap_after)| {
            Act::Append { of, events, is_late, gap_after }
        }),
        3 => of.clone().prop_map(|of| Act::Request { of }),
        3 => (of.clone(), names, any::<bool>()).prop_map(|(of, names, wait)| {
            Act::Lock { of, names, wait }
        }),
        1 => of.clone().prop_map(|of| Act::Release { of }),
        2 => (of, 0..RUNNERS.len()).prop_map(|(of, runner)| Act::Take { of, runner }),
    ]
}

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

fn runner(nth: usize) -> RunnerId {
    RunnerId(RUNNERS[nth].into())
}

/// One store, and the leases that were given out last.
struct Tried<'a> {
    store: &'a dyn Store,
    leases: Vec<Lease>,
}

impl<'a> Tried<'a> {
    async fn begun(store: &'a dyn Store) -> Self {
        let mut leases = vec![];
        for _ in 0..OPERATIONS {
            leases.push(store.create(pinned().into(), UnixMs(1), &runner(0)).await.unwrap().1);
        }
        Self { store, leases }
    }

    /// Do it, and tell the answer as a text.
    async fn act(&mut self, act: &Act, at: UnixMs) -> String {
        match act {
            Act::Append { of, events, is_late, gap_after } => {
                let lease = &self.leases[*of];
                let last = self.summary(lease.operation).await.last_seq.0;
                let mut seq = last;
                let mut records = vec![];
                for (nth, event) in events.iter().enumerate() {
                    seq += if *gap_after == Some(nth) { 2 } else { 1 };
                    let (seq, epoch) = (Seq(seq), lease.epoch);
                    records.push(Record { seq, at, epoch, event: event.clone() });
                }
                let after = Seq(if *is_late { last - 1 } else { last });
                format!("{:?}", self.store.append(lease, after, records).await)
            }
            Act::Request { of } => {
                let request = Request::Cancel { actor: format!("{at:?}").into(), reason: None };
                format!("{:?}", self.store.request(self.leases[*of].operation, request).await)
            }
            Act::Lock { of, names, wait } => {
                let environment = EnvironmentName::from("local");
                let asked =
                    self.store.acquire_locks(&self.leases[*of], &environment, names, at, *wait);
                format!("{:?}", asked.await)
            }
            Act::Release { of } => {
                format!("{:?}", self.store.release(&self.leases[*of], at).await)
            }
            Act::Take { of, runner: nth } => {
                let id = self.leases[*of].operation;
                match self.store.take_lease(id, &runner(*nth), 0).await {
                    Ok(Takeover { lease, last_alive, .. }) => {
                        self.leases[*of] = lease.clone();
                        format!("{lease:?} {last_alive:?}")
                    }
                    // How long it lasts is each store's own.
                    Err(StoreError::LeaseHeld { id, runner, .. }) => format!("{id} {runner}"),
                    Err(other) => format!("{other:?}"),
                }
            }
        }
    }

    async fn summary(&self, id: OperationId) -> Summary {
        self.store.summary(id).await.unwrap().unwrap()
    }

    /// All that the store keeps.
    async fn kept(&self) -> (Vec<Summary>, Vec<LockRow>, Vec<Vec<Request>>, Vec<Vec<Record>>) {
        let (mut requests, mut records) = (vec![], vec![]);
        for lease in &self.leases {
            requests.push(self.store.requests(lease).await.unwrap());
            records.push(self.store.load(lease.operation).await.unwrap());
        }
        let (list, locks) = (self.store.list().await.unwrap(), self.store.locks().await.unwrap());
        for one in &list {
            assert_eq!(self.store.summary(one.id).await.unwrap().as_ref(), Some(one));
        }
        assert_eq!(self.store.summary(OperationId(u64::MAX >> 1)).await.unwrap(), None);
        (list, locks, requests, records)
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 100,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn memory_and_sqlite_keep_the_same(acts in proptest::collection::vec(act(), 1..20)) {
        let dir = tempfile::tempdir().unwrap();
        let sqlite = Sqlite::open_with(dir.path(), TERMS, Clock::real()).unwrap();
        let memory = Memory::open(Clock::real()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut sqlite = Tried::begun(&sqlite).await;
            let mut memory = Tried::begun(&memory).await;
            for (nth, act) in acts.iter().enumerate() {
                let at = UnixMs(10 + nth as u64);
                let (answer, wanted) = (sqlite.act(act, at).await, memory.act(act, at).await);
                prop_assert_eq!(answer, wanted, "{:?}", act);
                prop_assert_eq!(sqlite.kept().await, memory.kept().await, "after {:?}", act);
            }
            Ok(())
        })?;
    }
}
