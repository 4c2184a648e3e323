//! A socket of HAProxy's that does not tell the truth: what the program would do if it did not
//! look, or did not wait, it does with this between them.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// What is not true.
#[derive(Clone, Copy, Debug)]
pub enum Lie {
    /// A slot's checks begin anew: they do not, and the verdict on its former tenant stays.
    ChecksAnew,
    /// Whatever is checked is up.
    IsUp,
    /// Nobody is served any more.
    NobodyIsServed,
    /// From this one on every state of the servers is cut off after its half.
    HalfAState(u32),
    /// As a master, a reload has left so many workers, each of which takes a second to answer.
    OldWorkers(u32),
}

/// It stands before a real socket until it is dropped.
pub struct Liar {
    at: PathBuf,
    is_over: Arc<AtomicBool>,
    has_lied: Arc<AtomicBool>,
    asked: Arc<AtomicU32>,
}

impl Liar {
    pub fn start(at: PathBuf, real: PathBuf, lie: Lie) -> Self {
        let _ = std::fs::remove_file(&at);
        let listener = UnixListener::bind(&at).expect("a socket");
        let (is_over, has_lied) = <(Arc<AtomicBool>, Arc<AtomicBool>)>::default();
        let (over, lied) = (Arc::clone(&is_over), Arc::clone(&has_lied));
        let asked = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let (real, lied, asked) = (real.clone(), Arc::clone(&lied), Arc::clone(&counted));
                std::thread::spawn(move || {
                    let _ = pass_on(stream, &real, lie, &lied, &asked);
                });
            }
        });
        Self { at, is_over, has_lied, asked }
    }

    pub fn at(&self) -> &Path {
        &self.at
    }

    /// How often it was asked for what it counts.
    pub fn asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }

    /// Whether anything that it passed on was not true.
    pub fn lied(&self) -> bool {
        self.has_lied.load(Ordering::SeqCst)
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Its listener goes when the next connection comes.
        let _ = UnixStream::connect(&self.at);
    }
}

fn pass_on(
    mut stream: UnixStream,
    real: &Path,
    lie: Lie,
    lied: &AtomicBool,
    asked: &AtomicU32,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut command = String::new();
    BufReader::new(&stream).read_line(&mut command)?;
    if matches!(lie, Lie::ChecksAnew) && command.trim_end().ends_with("health down") {
        lied.store(true, Ordering::SeqCst);
        return stream.write_all(b"\n");
    }
    if let (Lie::OldWorkers(count), true) = (lie, command.starts_with("show proc")) {
        let old: String = (1..=count).map(|pid| format!("{pid} worker 1 0d00h00m09s\n")).collect();
        let told = format!("#<PID> <type>\n# workers\n# old workers\n{old}# programs\n\n");
        return stream.write_all(told.as_bytes());
    }
    if let Some((_, of_it)) = command.strip_prefix("@!").and_then(|rest| rest.split_once(' ')) {
        command = of_it.to_owned();
        asked.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_secs(1));
    }
    let mut to = UnixStream::connect(real)?;
    to.set_read_timeout(Some(Duration::from_secs(10)))?;
    to.write_all(command.as_bytes())?;
    to.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    to.read_to_string(&mut answer)?;
    let told = match lie {
        Lie::IsUp if command.starts_with("show servers state") => all_up(&answer),
        Lie::NobodyIsServed if command.starts_with("show stat") => all_idle(&answer),
        Lie::HalfAState(from)
            if command.starts_with("show servers state")
                && asked.fetch_add(1, Ordering::SeqCst) + 1 >= from =>
        {
            answer[..answer.len() / 2].to_owned()
        }
        _ => answer.clone(),
    };
    if told != answer {
        lied.store(true, Ordering::SeqCst);
    }
    stream.write_all(told.as_bytes())
}

/// With the operational state of each server *running* (HAProxy Management Guide, *show servers
/// state*, `srv_op_state`).
fn all_up(answer: &str) -> String {
    let header = answer.lines().find_map(|line| line.strip_prefix("# ")).unwrap_or_default();
    let at = header.split(' ').position(|column| column == "srv_op_state");
    let up = |line: &str| {
        let mut words: Vec<&str> = line.split(' ').collect();
        let is_server = !line.starts_with('#') && words.len() > 10;
        if let Some(at) = at.filter(|_| is_server) {
            words[at] = "2";
        }
        words.join(" ")
    };
    answer.lines().map(|line| up(line) + "\n").collect()
}

/// With nobody served by any server, and nobody waiting for one.
fn all_idle(answer: &str) -> String {
    let Ok(mut all) = serde_json::from_str::<Value>(answer.trim()) else {
        return answer.to_owned();
    };
    let mut is_changed = false;
    for field in all.as_array_mut().into_iter().flatten().filter_map(Value::as_array_mut).flatten()
    {
        let is_count = ["scur", "qcur"].iter().any(|name| field["field"]["name"] == *name);
        if is_count && field["value"]["value"] != 0 {
            field["value"]["value"] = 0.into();
            is_changed = true;
        }
    }
    match is_changed {
        true => all.to_string(),
        false => answer.to_owned(),
    }
}
