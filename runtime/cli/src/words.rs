//! What causes, verdicts and phases are called, in tables and in JSON.

use stepback_core::event::{Cause, Verdict};
use stepback_core::manifest::Phase;

pub fn cause_word(cause: Cause) -> &'static str {
    match cause {
        Cause::Failed => "failed",
        Cause::Cancelled => "cancelled",
        Cause::Timeout => "timeout",
        Cause::Budget => "budget",
    }
}

pub fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Restored => "restored",
        Verdict::RestoredExceptDeclared => "restored-except-declared",
        Verdict::Incomplete => "incomplete",
    }
}

pub fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Live => "live",
        Phase::Downtime => "downtime",
        Phase::Cleanup => "cleanup",
    }
}
