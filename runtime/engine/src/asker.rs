//! Who asks a provider: for whoever stands in front of one, and tells whose question it was.

use stepback_core::CallId;

tokio::task_local! {
    static ASKER: Asker;
}

/// Whose question a provider is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asker {
    /// An attempt's read or wait.
    Attempt(CallId),
    /// A step's check, before the operation or before its downtime.
    Check,
}

impl Asker {
    /// Whose question is being answered; `None`: the engine's own.
    ///
    /// It is known within [`Provider::read`](stepback_provider::Provider::read) and `wait`, in the
    /// task in which the provider is called.
    pub fn now() -> Option<Self> {
        ASKER.try_with(Clone::clone).ok()
    }

    /// Ask on somebody's behalf.
    pub(crate) async fn asks<T>(self, question: impl Future<Output = T>) -> T {
        ASKER.scope(self, question).await
    }
}
