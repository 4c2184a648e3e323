//! What comes to the machine, and what it asks to be done.

use super::Observation;
use crate::actor::Actor;
use crate::calls::Call;
use crate::evaluate::{Evaluated, Outputs};
use crate::event::{AttemptResult, GivenSecret, Record};
use crate::expr::Scope;
use crate::failure::Failure;
use crate::ids::*;
use crate::step::{Change, EffectOutcome, Past};
use serde_json::Value;
use std::collections::BTreeMap;

/// What can come to the machine.
#[derive(Clone, Debug)]
pub enum Input {
    /// Preflight's answer; no reasons means it passed.
    Preflighted {
        /// One sentence each, for a person.
        reasons: Vec<String>,
    },
    /// Somebody asks for the end; past the commit point, or rolling back, this changes nothing.
    Cancel {
        /// Who asks.
        actor: Actor,
        /// In their words; `None` if they gave none.
        reason: Option<String>,
    },
    /// Secrets are given anew to an operation that is not taken up in its middle.
    Given {
        /// Who gave them.
        actor: Actor,
        /// Where each is from here on.
        secrets: BTreeMap<String, GivenSecret>,
    },
    /// An incomplete rollback is to be taken up again (R7).
    ResumeRollback {
        /// Who asks for it.
        actor: Actor,
    },
    /// What the expressions of a step come to.
    Evaluated {
        /// The step of [`Command::Evaluate`].
        step: StepId,
        /// What they come to; nothing starts by it once the operation is being stopped.
        evaluated: Evaluated,
    },
    /// What the expressions of the operation's outputs come to.
    OutputsEvaluated(Outputs),
    /// A call ended without an effect being sent: a read, a wait, or an effect that was refused
    /// before it went out.
    Answered {
        /// Numbered one above the attempt's last call.
        id: CallId,
        /// As the guest made it, with a placeholder for each secret.
        call: Call,
        /// What the guest is given.
        result: Result<Value, Failure>,
    },
    /// A wait lasts since then.
    WaitBegun {
        /// The number that its answer will have.
        id: CallId,
        /// As the guest made it, with the whole time that it may take.
        call: Call,
        /// When it began.
        since: UnixMs,
    },
    /// An effect is wanted, and what it touches is not read yet: other steps may have to be done
    /// first.
    EffectWanted {
        /// The number that the effect will have once it is made or denied.
        id: CallId,
        /// As the guest made it, with a placeholder for each secret.
        call: Call,
        /// Derived from `id`; it names what the call is to create.
        token: Token,
    },
    /// An effect is asked for, and what it touches was read just now.
    EffectAsked {
        /// The one that was granted.
        id: CallId,
        /// As the guest made it, with a placeholder for each secret.
        call: Call,
        /// Derived from `id`; the call goes out with it.
        token: Token,
        /// What it touches, as it was just read; `after` is `None` in each.
        changes: Vec<Change>,
    },
    /// A call that was sent is over, and its outcome known as far as it can be.
    EffectFinished {
        /// The effect whose `CallStarted` came before.
        id: CallId,
        /// What the provider answered or, if no answer came, what settling found out.
        outcome: EffectOutcome,
        /// The same as when it was asked for, each with `after` if it could be read.
        changes: Vec<Change>,
    },
    /// A guest has ended, by itself or because it was stopped.
    AttemptEnded {
        /// The attempt that is open.
        of: AttemptId,
        /// What the guest ended with; the machine adds that it was late, if it was.
        result: AttemptResult,
    },
    /// The gate's answer; no reasons means it passed (R10).
    Gated {
        /// One sentence each, for a person; any of them makes the operation roll back.
        reasons: Vec<String>,
    },
    /// What verification saw (R8).
    Observed {
        /// One for each resource with a baseline, and for whatever else has a stamp.
        observations: Vec<Observation>,
    },
    /// Time has passed.
    Tick,
}

/// What the driver is to start. An effect is none of these: it goes out when the record that it
/// began is durable (R1).
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Evaluate a step's expressions where that can be given up.
    Evaluate {
        /// The step; [`Input::Evaluated`] is the answer.
        step: StepId,
        /// What its expressions see.
        scope: Box<Scope>,
    },
    /// Evaluate the operation's outputs likewise.
    EvaluateOutputs {
        /// What they see: the inputs, and the output of every step.
        scope: Box<Scope>,
    },
    /// Evaluate and check every one of these steps now.
    Gate {
        /// Each with what its expressions see; [`Input::Gated`] is the answer.
        steps: Vec<(StepId, Scope)>,
    },
    /// Run a guest; what the journal holds of the attempt is answered from it (R4).
    StartAttempt(Box<AttemptOrder>),
    /// What an effect touches may be read, and then the effect be asked for.
    Grant {
        /// The effect of [`Input::EffectWanted`].
        id: CallId,
    },
    /// The effect must not be made.
    Deny {
        /// The effect of [`Input::EffectWanted`].
        id: CallId,
        /// What the guest is given: the wait would have closed a circle.
        failure: Failure,
    },
    /// End the attempt's waits, answer its further calls `cancelled`, stop it after a grace time.
    Interrupt {
        /// A run that is late, or that is open while the operation is being stopped.
        of: AttemptId,
    },
    /// Read every resource with a baseline again, and search for stamps.
    Verify,
}

/// An attempt to start, or to take up again.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptOrder {
    /// The attempt, which is open in the state already.
    pub of: AttemptId,
    /// The step's `with`, evaluated; a secret is a placeholder.
    pub input: Value,
    /// What an undo is told; `None` for a run.
    pub past: Option<Past>,
    /// A failed undo is tried again only after this long.
    pub delay_ms: u64,
}

/// Who takes up a cut-off operation, and what happened meanwhile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Who started the runner that takes it up.
    pub actor: Actor,
    /// How long no runner lived.
    pub dead_ms: u64,
    /// Who asked for the end meanwhile, and why.
    pub cancel: Option<(Actor, Option<String>)>,
    /// The secrets that were given anew.
    pub secrets: BTreeMap<String, GivenSecret>,
}

/// The records of one decision, already applied to the state, and what the driver is to start.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// To be appended in this order.
    pub records: Vec<Record>,
    /// To be started in this order.
    pub commands: Vec<Command>,
}
