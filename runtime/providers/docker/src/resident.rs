//! The helper that stays: one container a host, made ready before anything stops, that answers one
//! look after another. A look in the downtime then takes milliseconds, not a container's start.
//!
//! It is asked over its standard input and ends with it: with the program, however that ends, or
//! with the connection (Docker docs, *Engine API*, *ContainerCreate*, `StdinOnce`). Whatever comes,
//! it ends by itself after [`LIFE_S`]. It changes nothing, so it is no effect.

use super::connect::{Engine, Resident};
use super::errors::{Answer, RequestError};
use super::leftovers::HelperGuard;
use bollard::container::{AttachContainerResults, LogOutput};
use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig};
use bollard::query_parameters::AttachContainerOptionsBuilder;
use futures_util::StreamExt;
use std::time::Duration;
use stepback_core::{FailureClass, cut};
use tokio::io::AsyncWriteExt;

/// It ends then, whoever still could ask it.
pub(super) const LIFE_S: i64 = 6 * 3600;
/// A look that takes longer is not waited for: its device hangs, or it does itself.
const LOOK_MS_MAX: u64 = 6_000;
/// So much of what one said at its end is told.
const SAID_BYTES_MAX: usize = 500;
/// So much of an answer is kept.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// What a helper printed, and how it ended.
pub(super) struct Ran {
    pub(super) code: i64,
    pub(super) lines: Vec<String>,
}

impl Resident {
    /// Start one; whether it can do its work is asked of it.
    pub(super) async fn start(engine: &Engine, helper: ContainerCreateBody) -> Answer<Self> {
        let what = format!("the helper on {}", engine.host);
        let made = HelperGuard::new(&engine.leftovers, true)?;
        let started = Self::made(engine, &what, helper, made).await;
        if started.is_err() {
            engine.remove_leftovers().await;
        }
        started
    }

    async fn made(
        engine: &Engine,
        what: &str,
        helper: ContainerCreateBody,
        made: HelperGuard,
    ) -> Answer<Self> {
        let created = engine.client.create_container(made.options(), serving(helper)).await;
        let id = engine.asked(what, async { created }).await?.id;
        Self::attached(engine, what, &id, made).await
    }

    async fn attached(engine: &Engine, what: &str, id: &str, made: HelperGuard) -> Answer<Self> {
        let options = AttachContainerOptionsBuilder::new()
            .stdin(true)
            .stdout(true)
            .stderr(true)
            .stream(true)
            .build();
        // Before it starts, so that nothing it says is missed.
        let (client, heard) = engine.streaming(what)?;
        let attached = client.attach_container(id, Some(options)).await;
        let AttachContainerResults { output, input } =
            engine.asked(what, async { attached }).await?;
        engine.asked(what, engine.client.start_container(id, None)).await?;
        Ok(Self { input, output, heard, said: vec![], asked: 0, has_ended: false, _made: made })
    }

    /// Have it look at a device, or with none at itself.
    ///
    /// # Errors
    /// Unknown, if the connection breaks or it does not answer: it is of no use then.
    pub(super) async fn look(
        &mut self,
        engine: &Engine,
        what_to_do: &str,
        device: &str,
    ) -> Answer<Ran> {
        // It would be read as something else.
        if device.contains(char::is_whitespace) {
            let message = format!("`{device}` is no device that can be looked at: it has spaces");
            return Err(RequestError::no(FailureClass::InvalidInput, "EINVAL", message));
        }
        self.asked += 1;
        let limit = Duration::from_millis(LOOK_MS_MAX);
        let request = format!("{} {what_to_do} {device}\n", self.asked);
        match engine.clock.timeout(limit, self.answer(request.as_bytes())).await {
            Ok(Some(ran)) => Ok(ran),
            Ok(None) => {
                self.has_ended = true;
                let said = String::from_utf8_lossy(&self.said);
                let said = cut::beginning(said.trim(), SAID_BYTES_MAX);
                let why = format!("the helper on {} ended; {said}", engine.host);
                Err(RequestError::unknown(why.trim_end_matches("; ").to_owned()))
            }
            Err(_) => {
                let why = format!("the helper on {} did not answer in {limit:?}", engine.host);
                Err(RequestError::unknown(why))
            }
        }
    }

    /// Whether it ended in the middle of a look.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// All that it says, up to the line that says that this is all.
    async fn answer(&mut self, request: &[u8]) -> Option<Ran> {
        self.input.write_all(request).await.ok()?;
        self.input.flush().await.ok()?;
        loop {
            if let Some(ran) = ended(&self.said, self.asked) {
                self.said.clear();
                return Some(ran);
            }
            if self.said.len() > ANSWER_BYTES_MAX {
                return None;
            }
            let chunk = self.output.next().await?.ok()?;
            self.heard.taken();
            self.said.extend_from_slice(&LogOutput::into_bytes(chunk));
        }
    }
}

/// The answer to this question, if all of it was heard.
fn ended(said: &[u8], asked: u64) -> Option<Ran> {
    let text = String::from_utf8_lossy(said.strip_suffix(b"\n")?);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let code = lines.pop()?.strip_prefix(&format!("helper: {asked} ended with "))?.parse().ok()?;
    Some(Ran { code, lines })
}

fn serving(mut made: ContainerCreateBody) -> ContainerCreateBody {
    let text = str::to_owned;
    made.env = Some(vec![text("DO=serve"), format!("LIFE_S={LIFE_S}")]);
    (made.open_stdin, made.stdin_once) = (Some(true), Some(true));
    (made.attach_stdin, made.attach_stdout, made.attach_stderr) =
        (Some(true), Some(true), Some(true));
    made.host_config = Some(HostConfig {
        auto_remove: Some(true),
        // Its answers are heard by whoever asks, and by nobody else.
        log_config: Some(HostConfigLogConfig { typ: Some(text("none")), config: None }),
        ..made.host_config.unwrap_or_default()
    });
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_heard_to_its_end_is_an_answer() {
        let ran = |said: &str| ended(said.as_bytes(), 7).map(|ran| (ran.code, ran.lines.join("|")));
        let table = [
            ("", None),
            ("ext4\n", None),
            ("ext4\nhelper: 7 ended with 0", None),
            ("ext4\nhelper: 6 ended with 0\n", None),
            ("ext4\nhelper: 7 ended with \n", None),
            ("helper: 7 ended with 44\n", Some((44, String::new()))),
            ("ext4\n10\nhelper: 7 ended with 0\n", Some((0, "ext4|10".to_owned()))),
        ];
        for (said, wanted) in table {
            assert_eq!(ran(said), wanted, "{said:?}");
        }
    }
}
