//! Commands in containers: what they print goes to the step's log as it comes.

use super::connect::Engine;
use super::errors::{Answer, RequestError};
use super::hidden::Hidden;
use super::passwords::without_command;
use super::shapes::{has_run, is_running};
use super::streams::Lines;
use super::transport::Heard;
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::{Stream, StreamExt};
use serde_json::Value;
use std::collections::VecDeque;
use std::time::Duration;
use stepback_clock::Moment;
use stepback_core::calls::{ContainerSpec, run_once_name};
use stepback_core::cut::{self, CUT};
use stepback_core::manifest::duration_text;
use stepback_provider::engines::{CUT_OFF, STOPPED_BY_CANCEL, command_result};
use stepback_provider::passwords::Text;
use stepback_provider::{EffectContext, Notes};

/// How often a command is looked at that is to come to its end.
const LOOK_EVERY_MS: u64 = 20;
/// What is kept of a command's output: its last lines, each cut where it is longer.
const LINES_KEPT: usize = 200;
const LINE_BYTES_MAX: usize = 4 * 1024;
/// So much of it goes to the log, as much as a guest may log.
const LOGGED_BYTES_MAX: usize = 1024 * 1024;
/// How long a command that is stopped may take to end by itself.
const STOP_GRACE_MS: u64 = 10_000;

/// How a command exits that took too long (timeout(1)).
const TIMED_OUT: i64 = 124;

/// Why a command was not let come to its end.
enum Cut {
    Late,
    Cancelled,
}

/// What a command prints.
struct Output {
    notes: Notes,
    /// What its container has that may be a password.
    hidden: Hidden,
    /// The lines that have not ended yet.
    lines: Lines,
    last: VecDeque<String>,
    logged_bytes: usize,
    /// Whether what it prints was not heard to its end.
    is_lost: bool,
}

impl Output {
    fn new(notes: &Notes, hidden: Hidden) -> Self {
        let (lines, last) = (Lines::default(), VecDeque::new());
        Self { notes: notes.clone(), hidden, lines, last, logged_bytes: 0, is_lost: false }
    }

    /// Hear it to its end, or until the connection breaks.
    async fn hear(
        &mut self,
        mut chunks: impl Stream<Item = Result<LogOutput, Error>> + Unpin,
        heard: &Heard,
    ) {
        while let Some(chunk) = chunks.next().await {
            heard.taken();
            match chunk {
                Ok(chunk) => self.take(chunk),
                Err(_) => {
                    self.is_lost = true;
                    return;
                }
            }
        }
    }

    fn take(&mut self, chunk: LogOutput) {
        let stream = Lines::stream_of(&chunk);
        for byte in LogOutput::into_bytes(chunk) {
            let line = self.lines.of(stream);
            match byte {
                b'\n' => {
                    let line = std::mem::take(line);
                    self.end_line(&line);
                }
                // One more tells that it is longer, and a last one may be of the line's end.
                _ if line.len() < LINE_BYTES_MAX + 2 => line.push(byte),
                _ => {}
            }
        }
    }

    fn end_line(&mut self, line: &[u8]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let text = cut::beginning_of_bytes(line, LINE_BYTES_MAX);
        let text = self.hidden.taken_out_of(text.trim_end_matches('\r'), Text::Printed);
        let before = self.logged_bytes;
        self.logged_bytes = self.logged_bytes.saturating_add(text.len()).saturating_add(1);
        if self.logged_bytes <= LOGGED_BYTES_MAX {
            self.notes.info(text.clone());
        } else if before <= LOGGED_BYTES_MAX {
            self.notes.warn("what else it prints is not in the log".to_owned());
        }
        self.last.push_back(text);
        if self.last.len() > LINES_KEPT {
            self.last.pop_front();
        }
    }

    /// All of it, with a last line that says why it ends here, if the command did not end it.
    fn end(mut self, cut: Option<&str>) -> String {
        for mut line in std::mem::take(&mut self.lines).unended() {
            if cut.is_some() || self.is_lost {
                line.extend_from_slice(CUT.encode_utf8(&mut [0; 4]).as_bytes());
            }
            self.end_line(&line);
        }
        if let Some(why) = cut {
            self.end_line(why.as_bytes());
        }
        Vec::from(self.last).join("\n")
    }
}

impl Engine {
    /// Run a container to its end; it stays until its outcome is durable.
    pub(super) async fn run_once(
        &self,
        spec: &ContainerSpec,
        timeout_ms: u64,
        context: &EffectContext,
    ) -> Answer<Value> {
        let name = run_once_name(&context.token);
        self.create(&name, spec, None, context).await?;
        let ran = self.run_to_its_end(&name, timeout_ms, context).await;
        if ran.as_ref().is_err_and(|told| !told.is_unknown()) && !self.has_started(&name).await {
            // It never ran, and nobody is going to look for it.
            let _ = self.remove_with(&name, true).await;
        }
        ran
    }

    /// Start it, if it never ran, and wait until it has ended.
    ///
    /// One that takes too long, or that nobody wants any more, is stopped, and has run all the
    /// same.
    pub(super) async fn run_to_its_end(
        &self,
        name: &str,
        timeout_ms: u64,
        context: &EffectContext,
    ) -> Answer<Value> {
        let what = self.name_of("container", name);
        let found = self.inspect(name).await?;
        let id = self.id_of(name).await?;
        if !is_running(&found) && !has_run(&found) {
            let started = self.asked(&what, self.client.start_container(&id, None)).await;
            if let Err(told) = started
                && !(told.is_ended() && self.has_started(&id).await)
            {
                return Err(told.saying(|message| without_command(message, &found)));
            }
        }
        let until = self.clock.now().after(Duration::from_millis(timeout_ms));
        let mut output = Output::new(&context.notes, Hidden::given_to(&found));
        let ended = async {
            self.follow(&id, &mut output).await;
            loop {
                if let Some(code) = self.ended_with(&id).await? {
                    return Ok(code);
                }
                self.clock.sleep(Duration::from_millis(LOOK_EVERY_MS)).await;
            }
        };
        let cut = match self.unless_cut(ended, until, context).await {
            Ok(ended) => return ended.map(|code| command_result(code, output.end(None))),
            Err(cut) => cut,
        };
        // One that has ended by itself was not cut off, however late anybody hears of it.
        if let Some(code) = self.ended_with(&id).await? {
            // What was heard of it so far is in the log.
            let mut output = Output::new(&Notes::default(), Hidden::given_to(&found));
            self.follow(&id, &mut output).await;
            return Ok(command_result(code, output.end(None)));
        }
        self.stop_within(&id, STOP_GRACE_MS / 1000).await.map_err(RequestError::after_accepted)?;
        Ok(command_result(cut.code(), output.end(Some(&cut.why(timeout_ms)))))
    }

    /// How a container ended that was started; nothing while it runs, or while nobody tells.
    async fn ended_with(&self, id: &str) -> Answer<Option<i64>> {
        match self.inspect(id).await {
            Ok(found) if !is_running(&found) => {
                let code = found.state.and_then(|state| state.exit_code);
                Ok(Some(code.unwrap_or_default()))
            }
            Ok(_) => Ok(None),
            // An engine that is restarted tells later.
            Err(told) if told.is_unknown() || told.failure.is_retryable() => Ok(None),
            Err(told) => Err(told.after_accepted()),
        }
    }

    /// Whether a container runs or ran, whose start nobody answered, or answered with an error.
    pub(super) async fn has_started(&self, id: &str) -> bool {
        let found = self.inspect(id).await;
        found.is_ok_and(|found| is_running(&found) || has_run(&found))
    }

    /// Whether a command has no process and never had one (*ExecInspect*).
    async fn never_ran(&self, exec: &str) -> bool {
        let found = self.client.inspect_exec(exec).await;
        found.is_ok_and(|found| found.running == Some(false) && found.pid.unwrap_or_default() == 0)
    }

    async fn unless_cut<T>(
        &self,
        ended: impl Future<Output = Answer<T>>,
        until: Moment,
        context: &EffectContext,
    ) -> Result<Answer<T>, Cut> {
        tokio::select! {
            ended = ended => Ok(ended),
            () = self.clock.sleep_until(until) => Err(Cut::Late),
            () = context.cancel.cancelled() => Err(Cut::Cancelled),
        }
    }

    /// Hear what it prints until it ends. Whoever can't hear still learns how it ends.
    async fn follow(&self, name: &str, output: &mut Output) {
        let options = LogsOptionsBuilder::new().stdout(true).stderr(true).follow(true).build();
        match self.streaming(&self.name_of("container", name)) {
            Ok((client, heard)) => {
                output.hear(Box::pin(client.logs(name, Some(options))), &heard).await;
            }
            Err(_) => output.is_lost = true,
        }
    }

    /// Run a command in a running container (*ContainerExec*, *ExecStart*, *ExecInspect*).
    ///
    /// An engine can't end a command: one that takes too long goes on, and what becomes of it is
    /// not known.
    pub(super) async fn exec(
        &self,
        name: &str,
        command: &[String],
        timeout_ms: u64,
        context: &EffectContext,
    ) -> Answer<Value> {
        let what = self.name_of("container", name);
        let config = CreateExecOptions {
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(command.to_vec()),
            ..Default::default()
        };
        let container = self.id_of(name).await?;
        context.looked.must_be(&self.host, name, &container)?;
        // Nothing has run by then, whatever became of the answers.
        let found = self.inspect(&container).await;
        let found = found.map_err(|told| RequestError::from(told.failure))?;
        let created = self.asked(&what, self.client.create_exec(&container, config)).await;
        let id = created.map_err(|told| RequestError::from(told.failure))?.id;
        let options = StartExecOptions { detach: false, tty: false, output_capacity: None };
        let (client, heard) = self.streaming(&what)?;
        let started = match self.asked(&what, client.start_exec(&id, Some(options))).await {
            Ok(started) => started,
            Err(told) if told.is_ended() && self.never_ran(&id).await => {
                return Err(told.failure.into());
            }
            Err(told) => return Err(told),
        };
        let until = self.clock.now().after(Duration::from_millis(timeout_ms));
        let mut output = Output::new(&context.notes, Hidden::given_to(&found));
        let ended = async {
            if let StartExecResults::Attached { output: chunks, .. } = started {
                output.hear(chunks, &heard).await;
            }
            loop {
                let found = self.asked(&what, self.client.inspect_exec(&id)).await;
                // It was started, so no answer proves that it did not run.
                let found = found.map_err(|told| RequestError::unknown(told.failure.message))?;
                if let (Some(false), Some(code)) = (found.running, found.exit_code) {
                    return Ok(code);
                }
                self.clock.sleep(Duration::from_millis(LOOK_EVERY_MS)).await;
            }
        };
        match self.unless_cut(ended, until, context).await {
            Ok(ended) => ended.map(|code| command_result(code, output.end(None))),
            Err(Cut::Late) => {
                let message =
                    format!("the command in {what} still ran after {}", duration_text(timeout_ms));
                Err(RequestError::unknown(message))
            }
            Err(Cut::Cancelled) => {
                Err(RequestError::unknown(format!("the command in {what} still ran at the cancel")))
            }
        }
    }
}

impl Cut {
    fn code(&self) -> i64 {
        match self {
            Cut::Late => TIMED_OUT,
            Cut::Cancelled => CUT_OFF,
        }
    }

    /// The last line of the command's output.
    fn why(&self, timeout_ms: u64) -> String {
        match self {
            Cut::Late => format!("stopped: it took longer than its {}", duration_text(timeout_ms)),
            Cut::Cancelled => STOPPED_BY_CANCEL.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(text: &str) -> String {
        let mut output = Output::new(&Notes::default(), Hidden::default());
        for part in text.as_bytes().chunks(7) {
            output.take(LogOutput::StdOut { message: part.to_vec().into() });
        }
        output.end(None)
    }

    #[test]
    fn the_last_lines_are_kept_and_long_ones_cut() {
        assert_eq!(printed(""), "");
        assert_eq!(printed("one\r\ntwo"), "one\ntwo");
        let many: String = (0..LINES_KEPT + 3).map(|number| format!("{number}\n")).collect();
        assert!(printed(&many).starts_with("3\n4\n"));
        let whole = "x".repeat(LINE_BYTES_MAX);
        assert_eq!(printed(&format!("{whole}\r\n")), whole);
        assert_eq!(printed(&format!("{whole}x\ny")), format!("{whole}…\ny"));
        assert_eq!(printed(&format!("{}é", &whole[1..])), format!("{}…", &whole[1..]));
    }

    /// A frame ends anywhere in a line, and one of the other stream may come next.
    #[test]
    fn a_line_of_one_stream_has_nothing_of_the_other_in_it() {
        let mut output = Output::new(&Notes::default(), Hidden::default());
        for part in ["url=db://u:half of a pass", "word@h\nlast"] {
            output.take(LogOutput::StdOut { message: part.into() });
            output.take(LogOutput::StdErr { message: "progress\nhalf".into() });
        }
        let wanted = "progress\nurl=db://u:half of a password@h\nhalfprogress\nlast\nhalf";
        assert_eq!(output.end(None), wanted);
    }

    #[test]
    fn what_was_cut_off_says_so_last() {
        let mut output = Output::new(&Notes::default(), Hidden::default());
        output.take(LogOutput::StdOut { message: "one\nhalf a li".into() });
        assert_eq!(output.end(Some("stopped")), "one\nhalf a li…\nstopped");
        assert_eq!(
            Output::new(&Notes::default(), Hidden::default()).end(Some("stopped")),
            "stopped"
        );
    }

    #[test]
    fn what_floods_the_log_is_cut_off_once() {
        let lines = std::sync::Arc::new(std::sync::Mutex::new(vec![]));
        let to = std::sync::Arc::clone(&lines);
        let notes = Notes::new(move |note| to.lock().expect("no panic").push(note));
        let mut output = Output::new(&notes, Hidden::default());
        let line = "x".repeat(1023) + "\n";
        for _ in 0..2 * LOGGED_BYTES_MAX / line.len() {
            output.take(LogOutput::StdOut { message: line.clone().into() });
        }
        output.end(None);
        let told = lines.lock().expect("no panic");
        assert_eq!(told.len(), LOGGED_BYTES_MAX / line.len() + 1);
        assert!(matches!(told.last(), Some(stepback_provider::Note::Warn(_))));
    }
}
