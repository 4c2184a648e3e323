//! A loaded plugin: each call into it is a fresh guest that shares nothing with any other.

use crate::bindings::PluginPre;
use crate::bindings::exports::stepback::step::steps as wit;
use crate::cache::DESCRIBED_BYTES_MAX;
use crate::fault::{GuestFault, PluginError};
use crate::guest::Guest;
use crate::invocation::{Grants, Interface, Invocation, Mode, StopSignal};
use crate::limits::Limits;
use crate::load::Imports;
use crate::log::cut;
use crate::port::{HostPort, LogLevel, Reversed};
use crate::quota::{MemoryQuota, Usual};
use crate::shared::{Shared, Turns};
use crate::watch::Watch;
use serde_json::Value;
use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::nesting::{LEVELS_MAX, is_too_deep};
use stepback_core::step::{CheckAnswer, Past, PastEffect, StepInfo, UndoAnswer};
use stepback_core::{Call, Class, Failure, FailureClass, PluginDigest};
use tokio::sync::{OnceCell, OwnedSemaphorePermit};
use wasmtime::{Store, Trap, UpdateDeadline};

/// What a guest has of its own time after a host call that ends when the clock says that it should
/// have ended: enough to tell how the call came out.
const LAST_MOMENT: Duration = Duration::from_millis(100);

/// A component that offers steps, verified and ready to run.
pub struct Plugin {
    name: String,
    digest: PluginDigest,
    bytes: Arc<[u8]>,
    imports: Imports,
    usual: Usual,
    pre: PluginPre<Guest>,
    shared: Arc<Shared>,
    described: OnceCell<Steps>,
}

/// What a plugin says of its steps; copies have the same.
type Steps = stepback_core::Shared<Vec<StepInfo>>;

/// How a step that was checked first came out.
#[derive(Clone, Debug, PartialEq)]
pub enum Ran {
    /// The check said no.
    Refused(String),
    /// The check waits for something.
    NotYet(String),
    /// The check let it run, and this is what the run gave.
    Output(Value),
}

/// A guest about to run. Its store goes before its permit, so that the place is free when the
/// next in line takes it.
struct Session {
    store: Store<Guest>,
    watch: Arc<Watch>,
    stop: StopSignal,
    _permit: OwnedSemaphorePermit,
}

/// Makes a guest of a session and calls one of its exports, watched. A macro, because the
/// exports are methods of one generated type with arguments of their own.
macro_rules! enter {
    ($plugin:expr, $session:expr, $export:ident($($argument:expr),*)) => {{
        let Session { store, watch, stop, .. } = &mut $session;
        let answer = async {
            let guest = $plugin.pre.instantiate_async(&mut *store).await?;
            guest.stepback_step_steps().$export(&mut *store, $($argument),*).await
        };
        $plugin.attend(answer, watch, stop).await
    }};
}

/// What a plugin was loaded from.
pub(crate) struct Source {
    /// For messages.
    pub(crate) name: String,
    pub(crate) digest: PluginDigest,
    pub(crate) bytes: Arc<[u8]>,
    /// What the memories of a guest have at its beginning, in bytes.
    pub(crate) initial_memory: usize,
}

impl Plugin {
    pub(crate) fn new(
        source: Source,
        imports: Imports,
        pre: PluginPre<Guest>,
        shared: Arc<Shared>,
    ) -> Self {
        let Source { name, digest, bytes, initial_memory } = source;
        let (usual, described) = (Usual::new(initial_memory), OnceCell::new());
        Self { name, digest, bytes, imports, usual, pre, shared, described }
    }

    /// The sha-256 of the component's bytes.
    pub fn digest(&self) -> &PluginDigest {
        &self.digest
    }

    /// The component's bytes, for whoever pins it.
    pub fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }

    /// The interfaces it imports: the capabilities it asks for.
    pub fn imports(&self) -> &BTreeSet<Interface> {
        &self.imports.interfaces
    }

    /// What it can call that nothing takes back, where no step of it is declared irreversible.
    ///
    /// Its imports tell which functions it can call, not which step calls them, nor on what: such
    /// a call is refused unless it is for what the same operation made.
    ///
    /// # Errors
    /// As [`Plugin::describe`] has them.
    pub async fn undeclared(&self) -> Result<Vec<&'static str>, PluginError> {
        if self.describe().await?.iter().any(|info| !info.reversible) {
            return Ok(vec![]);
        }
        let is_irreversible =
            |function: &&str| Call::class_of(function) == Some(Class::Irreversible);
        Ok(self.imports.functions.iter().copied().filter(is_irreversible).collect())
    }

    /// The steps it offers; asked once, and kept in the cache. It may look at nothing meanwhile.
    pub async fn describe(&self) -> Result<Steps, PluginError> {
        let look_up = async || self.look_up_steps().await.map(Steps::from);
        self.described.get_or_try_init(look_up).await.cloned()
    }

    async fn look_up_steps(&self) -> Result<Vec<StepInfo>, PluginError> {
        let cache = self.shared.cache.as_ref();
        if let Some(steps) = cache.and_then(|cache| cache.steps(&self.digest)) {
            return Ok(steps);
        }
        let steps = self.ask_describe().await?;
        if let Some(cache) = cache {
            cache.keep_steps(&self.digest, &steps);
        }
        Ok(steps)
    }

    async fn ask_describe(&self) -> Result<Vec<StepInfo>, PluginError> {
        let fail = |fault| PluginError::Describe { name: self.name.clone(), fault };
        let invocation = Invocation {
            step: String::new(),
            input: Value::Null,
            mode: Mode::Check,
            grants: Grants::none(),
            seed: [0; 32],
            stop: StopSignal::new(),
            memory: MemoryQuota::new(&self.shared.limits),
        };
        let mut session = self.open(&invocation, Arc::new(NoPort)).await.map_err(fail)?;
        let infos = enter!(self, session, call_describe()).map_err(fail)?;
        let mut bytes = 0_usize;
        for wit::StepInfo { name, doc, input_schema, output_schema, .. } in &infos {
            let own = [name, doc, input_schema, output_schema].map(String::len);
            bytes = own.into_iter().fold(bytes, usize::saturating_add);
            if bytes > DESCRIBED_BYTES_MAX {
                return Err(PluginError::Schema {
                    name: self.name.clone(),
                    step: short(name),
                    why: format!(
                        "makes more than {DESCRIBED_BYTES_MAX} bytes, with all that is said of its \
                         steps"
                    ),
                });
            }
        }
        infos.into_iter().map(|info| self.step_info(info)).collect()
    }

    fn step_info(&self, info: wit::StepInfo) -> Result<StepInfo, PluginError> {
        let wit::StepInfo { name, doc, input_schema, output_schema, reversible } = info;
        let schema = |text: &str| {
            serde_json::from_str(text).map_err(|error| PluginError::Schema {
                name: self.name.clone(),
                step: name.clone(),
                why: format!("is not JSON: {error}"),
            })
        };
        let (input_schema, output_schema) = (schema(&input_schema)?, schema(&output_schema)?);
        Ok(StepInfo { name, doc, input_schema, output_schema, reversible })
    }

    /// Whether the step could run now; it may only look.
    pub async fn check(
        &self,
        invocation: Invocation,
        port: Arc<dyn HostPort>,
    ) -> Result<CheckAnswer, GuestFault> {
        let mut session = self.open_granted(&invocation, port).await?;
        let call = self.call_of(invocation);
        let answer = enter!(self, session, call_check(&call))?.map_err(own_failure)?;
        Ok(match answer {
            wit::CheckAnswer::Ok => CheckAnswer::Ok,
            wit::CheckAnswer::Refused(why) => CheckAnswer::Refused(short(&why)),
            wit::CheckAnswer::NotYet(why) => CheckAnswer::NotYet(short(&why)),
        })
    }

    /// Checks the step, and runs it if the check lets it: one guest does both, which saves
    /// making a second one for every step.
    pub async fn check_then_run(
        &self,
        invocation: Invocation,
        port: Arc<dyn HostPort>,
    ) -> Result<Ran, GuestFault> {
        let run_mode = invocation.mode;
        let looking = Invocation { mode: Mode::Check, ..invocation };
        let mut session = self.open_granted(&looking, port).await?;
        let call = self.call_of(looking);
        let Session { store, watch, stop, .. } = &mut session;
        let both = async {
            let guest = self.pre.instantiate_async(&mut *store).await?;
            let steps = guest.stepback_step_steps();
            match steps.call_check(&mut *store, &call).await? {
                Ok(wit::CheckAnswer::Ok) => {}
                Ok(wit::CheckAnswer::Refused(why)) => return Ok(Ok(Ran::Refused(short(&why)))),
                Ok(wit::CheckAnswer::NotYet(why)) => return Ok(Ok(Ran::NotYet(short(&why)))),
                Err(failure) => return Ok(Err(failure)),
            }
            store.data_mut().enter(run_mode, &self.shared.limits);
            let output = steps.call_run(&mut *store, &call).await?;
            Ok(output.map(|output| Ran::Output(Value::String(output))))
        };
        match self.attend(both, watch, stop).await?.map_err(own_failure)? {
            Ran::Output(Value::String(output)) => output_of(&output).map(Ran::Output),
            other => Ok(other),
        }
    }

    /// Runs the step to its output.
    pub async fn run(
        &self,
        invocation: Invocation,
        port: Arc<dyn HostPort>,
    ) -> Result<Value, GuestFault> {
        let mut session = self.open_granted(&invocation, port).await?;
        let call = self.call_of(invocation);
        let output = enter!(self, session, call_run(&call))?.map_err(own_failure)?;
        output_of(&output)
    }

    /// Takes back what the step did, as `past` tells it.
    pub async fn undo(
        &self,
        invocation: Invocation,
        past: &Past,
        port: Arc<dyn HostPort>,
    ) -> Result<UndoAnswer, GuestFault> {
        let mut session = self.open_granted(&invocation, port).await?;
        let (call, past) = (self.call_of(invocation), past_of(past));
        session.store.data_mut().space.has_to_take(bytes_of(&past));
        let answer = enter!(self, session, call_undo(&call, &past))?.map_err(own_failure)?;
        Ok(match answer {
            wit::UndoAnswer::Undone => UndoAnswer::Undone,
            wit::UndoAnswer::NothingToUndo => UndoAnswer::NothingToUndo,
            wit::UndoAnswer::Kept(why) => UndoAnswer::Kept(short(&why)),
            wit::UndoAnswer::CannotUndo(why) => UndoAnswer::CannotUndo(short(&why)),
        })
    }

    /// A session for a plugin whose every import was granted.
    async fn open_granted(
        &self,
        invocation: &Invocation,
        port: Arc<dyn HostPort>,
    ) -> Result<Session, GuestFault> {
        let missing =
            self.imports.interfaces.iter().find(|import| !invocation.grants.allow(**import));
        match missing {
            Some(import) => Err(GuestFault::NotGranted(import.to_string())),
            None => self.open(invocation, port).await,
        }
    }

    /// Waits for a free place among the guests, then sets the limits up.
    async fn open(
        &self,
        invocation: &Invocation,
        port: Arc<dyn HostPort>,
    ) -> Result<Session, GuestFault> {
        let stop = invocation.stop.clone();
        // A place that is free is taken even after a stop: a replay has calls to answer first.
        let both = async {
            // Whoever waits behind its own operation's guests takes no place from others.
            let room = invocation.memory.room(&self.usual).await?;
            let permit = self.shared.permits.clone().acquire_owned().await;
            // Nothing closes the semaphore; a runtime going down would look like a stop.
            Ok((room, permit.map_err(|_| GuestFault::Stopped)?))
        };
        let (room, permit) = tokio::select! {
            biased;
            both = both => both?,
            () = stop.stopped() => return Err(GuestFault::Stopped),
        };
        let Shared { engine, limits, .. } = &*self.shared;
        let Invocation { mode, grants, seed, .. } = invocation;
        let guest = Guest::new(port, *mode, grants.clone(), *seed, limits, room);
        let watch = guest.watch.clone();
        let mut store = Store::new(engine, guest);
        store.limiter(|guest| &mut guest.space);
        store.set_hostcall_fuel(limits.output_bytes_max);
        store.set_epoch_deadline(1);
        let turns = self.shared.turns;
        store.epoch_deadline_callback(move |store| {
            store.data().watch.on_tick().map_err(wasmtime::Error::new)?;
            Ok(match turns {
                Turns::ByTime => UpdateDeadline::Yield(1),
                Turns::UntilACall => UpdateDeadline::Continue(1),
            })
        });
        Ok(Session { store, watch, stop, _permit: permit })
    }

    /// Waits for a guest's answer; after a stop it has its grace time to give one.
    async fn attend<T>(
        &self,
        answer: impl Future<Output = wasmtime::Result<T>>,
        watch: &Watch,
        stop: &StopSignal,
    ) -> Result<T, GuestFault> {
        let mut answer = std::pin::pin!(answer);
        let answered = tokio::select! {
            biased;
            answered = &mut answer => answered,
            () = stop.stopped() => {
                let Limits { stop_grace, stop_by_clock, .. } = self.shared.limits;
                watch.end_within(stop_grace);
                tokio::select! {
                    biased;
                    answered = &mut answer => answered,
                    () = Clock::real().sleep(stop_by_clock) => {
                        watch.end_now(LAST_MOMENT);
                        answer.await
                    }
                }
            }
        };
        answered.map_err(|error| self.fault_of(&error))
    }

    /// What a guest's end means; limits and traps are known by their types.
    fn fault_of(&self, error: &wasmtime::Error) -> GuestFault {
        if let Some(fault) = error.downcast_ref::<GuestFault>() {
            return fault.clone();
        }
        if let Some(trap) = error.downcast_ref::<Trap>() {
            return fault_of_trap(*trap);
        }
        let cause = error.root_cause().to_string();
        // wasmtime keeps this error's type to itself; `tests/limits.rs` fails when its text moves.
        if cause.contains("fuel allocated for hostcalls has been exhausted") {
            let limit_mib = self.shared.limits.output_bytes_max >> 20;
            return GuestFault::TooMuchOutput { limit_mib };
        }
        let hint = match cause.contains("(os error 12)") {
            // ENOMEM, which is no plugin's doing.
            true => ": this machine gives it too little, see `ulimit -v` and a container's limits",
            false => "",
        };
        GuestFault::Trap(format!("{}{hint}", short(&cause)))
    }

    fn call_of(&self, invocation: Invocation) -> wit::Call {
        wit::Call { step: invocation.step, input: invocation.input.to_string() }
    }
}

/// What a trap most often means in a compiled plugin is told with it.
fn fault_of_trap(trap: Trap) -> GuestFault {
    let hint = match trap {
        Trap::StackOverflow => return GuestFault::StackOverflow,
        Trap::UnreachableCodeReached => ": a panic, most often; the log tells it",
        Trap::MemoryOutOfBounds => ": endless recursion, most often, or a bad pointer",
        _ => "",
    };
    GuestFault::Trap(format!("{trap}{hint}"))
}

fn past_of(past: &Past) -> wit::Past {
    wit::Past {
        finished: past.finished,
        output: past.output.as_ref().map(Value::to_string),
        effects: past.effects.iter().map(effect_of).collect(),
    }
}

/// What the texts of a past take.
fn bytes_of(past: &wit::Past) -> usize {
    let effects = past.effects.iter().map(|effect| {
        let wit::PastEffect { id, function, arguments, outcome, changes } = effect;
        let changes = changes.iter().map(|change| {
            let after = change.after.as_ref().map_or(0, String::len);
            change.resource.len() + change.before.len() + after
        });
        let own = [id, function, arguments, outcome].map(String::len);
        own.into_iter().chain(changes).sum::<usize>()
    });
    effects.sum::<usize>() + past.output.as_ref().map_or(0, String::len)
}

fn effect_of(effect: &PastEffect) -> wit::PastEffect {
    let PastEffect { id, call, token: _, outcome, changes } = effect;
    let changes = changes.iter().map(|change| wit::Change {
        resource: change.resource.to_string(),
        before: json_of(&change.before).to_string(),
        after: change.after.as_ref().map(|after| json_of(after).to_string()),
    });
    wit::PastEffect {
        id: id.to_string(),
        function: call.function().to_owned(),
        arguments: json_of(call)["arguments"].to_string(),
        outcome: json_of(outcome).to_string(),
        changes: changes.collect(),
    }
}

/// Our own records as JSON. They are plain data with string keys, which JSON can always hold.
fn json_of(record: &impl serde::Serialize) -> Value {
    serde_json::to_value(record).unwrap_or(Value::Null)
}

fn output_of(output: &str) -> Result<Value, GuestFault> {
    let broken = |message: String| {
        let message = format!("the step's output {message}");
        GuestFault::Failed(Failure::new(FailureClass::Internal, message))
    };
    let value =
        serde_json::from_str(output).map_err(|error| broken(format!("is not JSON: {error}")))?;
    match is_too_deep(&value) {
        false => Ok(value),
        true => Err(broken(format!("is nested deeper than {LEVELS_MAX} levels"))),
    }
}

fn own_failure(failure: wit::Failure) -> GuestFault {
    let Failure { class, code, message } = failure.into();
    let code = code.as_deref().map(short);
    GuestFault::Failed(Failure { class, code, message: short(&message) })
}

/// A reason as it may stand in the journal.
fn short(text: &str) -> String {
    const REASON_BYTES_MAX: usize = 4 << 10;
    cut(text, REASON_BYTES_MAX)
}

/// What a guest that describes itself may ask for: nothing.
struct NoPort;

#[async_trait::async_trait]
impl HostPort for NoPort {
    async fn call(&self, call: Call) -> Result<Value, Failure> {
        let message = format!("{}: a plugin that describes itself may not call", call.function());
        Err(Failure::new(FailureClass::Denied, message))
    }

    async fn may(&self, call: Call) -> Result<(), Failure> {
        self.call(call).await.map(drop)
    }

    async fn reverse(&self, _effect_id: &str) -> Result<Reversed, Failure> {
        Err(Failure::new(FailureClass::Denied, "nothing to reverse while describing"))
    }

    fn log(&self, _level: LogLevel, _text: String) {}

    fn progress(&self, _text: String, _done: u64, _total: Option<u64>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_is_as_deep_as_the_journal_reads_it() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(output_of(&nested(LEVELS_MAX)).is_ok());
        for levels in [LEVELS_MAX + 1, 126, 100_000] {
            assert!(output_of(&nested(levels)).is_err(), "{levels}");
        }
    }
}
