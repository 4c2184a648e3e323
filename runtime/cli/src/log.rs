//! What can be seen from inside: spans and events of the program's own, for whoever wants to know
//! why (`STEPBACK_LOG`). What is off costs nothing.

use crate::args::{Global, LogFormat};
use crate::error::CliError;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Mutex;
use stepback_core::shown::{set_in, without_commands};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

/// What to tell: a level (`debug`), or directives such as `stepback_engine=trace`.
const VARIABLE: &str = "STEPBACK_LOG";

/// Begin to tell, where somebody wants to hear it.
///
/// # Errors
/// A filter that is none, or a file that can't be written.
pub fn start(global: &Global) -> Result<(), CliError> {
    let asked = std::env::var(VARIABLE).unwrap_or_default();
    if asked.trim().is_empty() {
        return Ok(());
    }
    let filter = EnvFilter::try_new(own(&asked)).map_err(|error| {
        let message = shown!("`{}={}`: {}", VARIABLE, asked, error);
        CliError::usage(message, "a level (`debug`), or `stepback_engine=debug,warn`")
    })?;
    let writer = match &global.log_file {
        None => BoxMakeWriter::new(|| Lines(std::io::stderr())),
        Some(path) => BoxMakeWriter::new(Mutex::new(Lines(opened(path)?))),
    };
    // How long each took is for whoever wants all of it.
    let is_all = filter.max_level_hint().is_some_and(|level| level >= LevelFilter::DEBUG);
    let told = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(false)
        .with_span_events(if is_all { FmtSpan::CLOSE } else { FmtSpan::NONE });
    // Nobody else in this program listens.
    let _ = match global.log_format {
        LogFormat::Text => told.try_init(),
        LogFormat::Json => told.json().try_init(),
    };
    Ok(())
}

/// A line for each event: what others wrote in it draws none, and does nothing. It is written at
/// once (docs of *tracing-subscriber*, *MakeWriter*), in JSON as well, whose values stay the same.
struct Lines<W>(W);

impl<W: Write> Write for Lines<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = format!("{}\n", without_commands(&set_in(&text)));
        self.0.write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A level alone is that of this program's own crates: what its libraries tell, nobody asked for.
fn own(asked: &str) -> String {
    match asked.trim().parse::<LevelFilter>() {
        Ok(level) => format!("stepback={level}"),
        Err(_) => asked.to_owned(),
    }
}

/// For its owner's eyes: it tells what the infrastructure is called.
fn opened(path: &Path) -> Result<File, CliError> {
    let opened = File::options().create(true).append(true).mode(0o600).open(path);
    opened.map_err(|error| {
        let message = shown!("{} can't be written: {}", path.display(), error);
        CliError::usage(message, "choose another place with `--log-file FILE`")
    })
}
