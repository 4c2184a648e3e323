//! What comes to the machine, and what it asks to be done.

use super::Observation;
use crate::calls::Call;
use crate::evaluate::{Evaluated, Outputs};
use crate::event::{AttemptResult, Record};
use crate::expr::Scope;
use crate::failure::Failure;
use crate::ids::*;
use crate::step::{Change, EffectOutcome, Past};
use serde_json::Value;

/// What can come to the machine.
#[derive(Clone, Debug)]
pub enum Input {
    /// Preflight's answer; no reasons means it passed.
    Preflighted {
        reasons: Vec<String>,
    },
    Cancel {
        actor: String,
        reason: Option<String>,
    },
    /// An incomplete rollback is to be taken up again (R7).
    ResumeRollback {
        actor: String,
    },
    /// What the expressions of a step come to.
    Evaluated {
        step: StepId,
        evaluated: Evaluated,
    },
    /// What the expressions of the operation's outputs come to.
    OutputsEvaluated(Outputs),
    /// A call ended without an effect being sent: a read, a wait, or an effect that was refused
    /// before it went out.
    Answered {
        id: CallId,
        call: Call,
        result: Result<Value, Failure>,
    },
    /// A wait lasts since then.
    WaitBegun {
        id: CallId,
        call: Call,
        since: UnixMs,
    },
    /// An effect is wanted, and what it touches is not read yet: other steps may have to be done
    /// first.
    EffectWanted {
        id: CallId,
        call: Call,
        token: Token,
    },
    /// An effect is asked for, and what it touches was read just now.
    EffectAsked {
        id: CallId,
        call: Call,
        token: Token,
        changes: Vec<Change>,
    },
    EffectFinished {
        id: CallId,
        outcome: EffectOutcome,
        changes: Vec<Change>,
    },
    AttemptEnded {
        of: AttemptId,
        result: AttemptResult,
    },
    /// The gate's answer; no reasons means it passed (R10).
    Gated {
        reasons: Vec<String>,
    },
    /// What verification saw (R8).
    Observed {
        observations: Vec<Observation>,
    },
    /// Time has passed.
    Tick,
}

/// What the driver is to start; an effect among it waits until its record is durable (R1).
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Evaluate a step's expressions where that can be given up.
    Evaluate {
        step: StepId,
        scope: Box<Scope>,
    },
    /// Evaluate the operation's outputs likewise.
    EvaluateOutputs {
        scope: Box<Scope>,
    },
    /// Evaluate and check every one of these steps now.
    Gate {
        steps: Vec<(StepId, Scope)>,
    },
    StartAttempt(Box<AttemptOrder>),
    /// What an effect touches may be read, and then the effect be asked for.
    Grant {
        id: CallId,
    },
    /// The effect must not be made.
    Deny {
        id: CallId,
        failure: Failure,
    },
    /// End the attempt's waits, answer its further calls `cancelled`, stop it after a grace time.
    Interrupt {
        of: AttemptId,
    },
    /// Read every resource with a baseline again, and search for stamps.
    Verify,
}

/// An attempt to start, or to take up again.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptOrder {
    pub of: AttemptId,
    pub input: Value,
    pub past: Option<Past>,
    /// A failed undo is tried again only after this long.
    pub delay_ms: u64,
}

/// Who takes up a cut-off operation, and what happened meanwhile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    pub actor: String,
    /// How long no runner lived.
    pub dead_ms: u64,
    /// Who asked for the end meanwhile, and why.
    pub cancel: Option<(String, Option<String>)>,
}

/// The records of one decision, already applied to the state, and what the driver is to start.
#[derive(Debug, Default)]
pub struct Decision {
    pub records: Vec<Record>,
    pub commands: Vec<Command>,
}
