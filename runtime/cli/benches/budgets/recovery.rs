//! Recovery: one operation with a long journal, many at once, and what a waiting one weighs.

use crate::load::{Load, Store, request};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use stepback_core::event::{Event, Record};
use stepback_core::{OperationId, StepKey};
use stepback_engine::{Control, Deps, Reporter};
use stepback_journal::LogLine;
use tokio::sync::Notify;

/// Sees operations come to their last step, which waits, and sees them taken up.
#[derive(Default)]
pub struct Watch {
    ids: Mutex<Vec<OperationId>>,
    waiting: AtomicU64,
    taken_up: AtomicU64,
    events: AtomicU64,
    changed: Notify,
}

impl Watch {
    async fn until(&self, count: impl Fn(&Self) -> u64, wanted: u64) {
        loop {
            let changed = self.changed.notified();
            if count(self) >= wanted {
                return;
            }
            changed.await;
        }
    }
}

impl Reporter for Watch {
    fn on_record(&self, id: OperationId, record: &Record) {
        self.events.fetch_add(1, Ordering::SeqCst);
        match &record.event {
            Event::Created(_) if record.epoch.0 == 1 => {
                let mut ids = self.ids.lock().expect("no panic");
                if !ids.contains(&id) {
                    ids.push(id);
                }
            }
            // Its guest is gone, and its wait is on record.
            Event::WaitBegun { .. } => {
                self.waiting.fetch_add(1, Ordering::SeqCst);
            }
            Event::TakenUp { .. } => {
                self.taken_up.fetch_add(1, Ordering::SeqCst);
            }
            _ => return,
        }
        self.changed.notify_waiters();
    }

    fn on_log(&self, _: OperationId, _: &LogLine) {}

    fn on_progress(&self, _: OperationId, _: &StepKey, _: &str, _: u64, _: Option<u64>) {}
}

/// Operations that wait in their last step, until they are left.
pub struct Waiting {
    load: Load,
    watch: Arc<Watch>,
}

/// What it took to have them wait, and what each weighs.
pub struct Waited {
    pub events: u64,
    pub each_kib: f64,
    /// The part of one processor that all of them take while they wait.
    pub busy: f64,
}

impl Waiting {
    pub fn new() -> Self {
        let watch = Arc::<Watch>::default();
        let load = Load::reporting(Store::Disk, Arc::clone(&watch) as Arc<dyn Reporter>);
        Self { load, watch }
    }

    /// Start so many operations of so many steps, wait until all wait, and leave them.
    pub async fn start(&self, operations: u64, steps: u32) -> Waited {
        let text: Arc<str> = waiting_manifest(steps).into();
        let control = Control::new();
        let before_kib = resident_kib();
        let tasks: Vec<_> = (0..operations)
            .map(|_| {
                let (deps, text) = (self.deps(), Arc::clone(&text));
                let control = control.clone();
                tokio::spawn(async move {
                    let left = stepback_engine::run(&deps, &request(&text), &control).await;
                    assert!(left.is_err(), "it is left, not ended");
                })
            })
            .collect();
        self.watch.until(|watch| watch.waiting.load(Ordering::SeqCst), operations).await;
        // What is on its way into the journal gets there, and guests that wait are parked.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (cpu, idle) = (cpu_ms(), Duration::from_secs(1));
        tokio::time::sleep(idle).await;
        let busy = (cpu_ms() - cpu) / idle.as_millis() as f64;
        let each_kib = (resident_kib() - before_kib) / operations as f64;
        control.leave();
        for task in tasks {
            task.await.expect("no panic");
        }
        Waited { events: self.watch.events.load(Ordering::SeqCst), each_kib, busy }
    }

    /// Resume all of them at once; how long until the last one goes on.
    pub async fn resume_all(&self) -> Duration {
        let ids = self.watch.ids.lock().expect("no panic").clone();
        let control = Control::new();
        let count = ids.len() as u64;
        let started = Instant::now();
        let tasks: Vec<_> = ids
            .into_iter()
            .map(|id| {
                let (deps, control) = (self.deps(), control.clone());
                tokio::spawn(async move {
                    let left = stepback_engine::resume(&deps, id, &control).await;
                    assert!(left.is_err(), "it is left, not ended");
                })
            })
            .collect();
        self.watch.until(|watch| watch.taken_up.load(Ordering::SeqCst), count).await;
        let took = started.elapsed();
        control.leave();
        for task in tasks {
            task.await.expect("no panic");
        }
        took
    }

    fn deps(&self) -> Arc<Deps> {
        self.load.deps()
    }
}

fn waiting_manifest(steps: u32) -> String {
    let mut text = crate::load::manifest(steps);
    text.push_str(
        "[[steps]]\nid = \"wait\"\nuses = \"core/sleep\"\nwith = { duration = \"20h\" }\n",
    );
    text
}

/// What this process has computed so far, in milliseconds (proc(5), `stat`: 14 utime, 15 stime, in
/// hundredths of a second).
fn cpu_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2);
    ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() * 10.0
}

/// What this process has in memory (proc(5), `VmRSS`).
fn resident_kib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    number.unwrap_or_default()
}
