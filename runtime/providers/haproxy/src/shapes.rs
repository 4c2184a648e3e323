//! What a process tells of a backend's servers (HAProxy Management Guide, *show servers state*,
//! *show stat*).

use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;
use stepback_core::{Failure, FailureClass, cut};
use stepback_provider::pools::Health;

/// The version of *show servers state* that is read here.
const STATE_VERSION: &str = "1";
/// Bits of *srv_admin_state*: forced, inherited, by the resolver, by its name. Bit 4 says only that
/// the configuration has it disabled at first.
const MAINTENANCE: u32 = 0x01 | 0x02 | 0x20 | 0x40;
/// Drained by hand, or with another server.
const DRAINED: u32 = 0x08 | 0x10;
/// Bits of *srv_check_state*: its configuration has checks, and they are made. `disable health`
/// takes the second away, and its last verdict stays.
const IS_CHECKED: u32 = 0x02;
const CHECKS_ARE_MADE: u32 = 0x04;
/// Values of *srv_op_state*: it starts slowly, it runs.
const UP: [u32; 2] = [1, 2];
/// The value of *srv_check_result* of a check that failed.
const FAILED: u32 = 2;
/// A port that no server has: a slot whose port it is has nobody in it.
pub(super) const NO_PORT: u16 = 1;

/// A server of a backend: a slot that a target may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) name: String,
    /// `None` where it has no address, and so can't be given one.
    pub(super) address: Option<IpAddr>,
    pub(super) port: u16,
    pub(super) is_in_maintenance: bool,
    pub(super) is_drained: bool,
    pub(super) is_checked: bool,
    /// Whether its checks were turned off at runtime.
    pub(super) is_unwatched: bool,
    pub(super) weight: u32,
    /// Whether its address is kept over a reload: that of one that is written as a number is not.
    pub(super) is_kept: bool,
    pub(super) health: Health,
    pub(super) reason: Option<String>,
    /// Who is served by it, or waits for it.
    pub(super) sessions: u32,
    /// Whether clients come back to it by a cookie, when it is drained, too.
    pub(super) has_cookie: bool,
}

impl Slot {
    /// Whether a target can be put into it, at some time.
    pub(super) fn is_a_place(&self) -> bool {
        self.is_checked && !self.is_unwatched && self.is_kept && self.address.is_some()
    }

    /// Whether nobody has it. One that was just taken, or is just given back, is drained.
    pub(super) fn is_free(&self) -> bool {
        self.is_a_place() && self.port <= NO_PORT && !self.is_enabled()
    }

    /// Whether it gets traffic.
    pub(super) fn is_enabled(&self) -> bool {
        !self.is_in_maintenance && !self.is_drained
    }

    /// Whether a target is, or was, at this place.
    pub(super) fn is_at(&self, address: IpAddr, port: u16) -> bool {
        self.port == port && self.address.is_some_and(|own| own.to_canonical() == address)
    }

    /// The same but for what passes: whoever compares it sees what a command changed.
    pub(super) fn settled(&self) -> Self {
        let (health, reason, sessions) = (Health::Unused, None, 0);
        Self { health, reason, sessions, ..self.clone() }
    }
}

/// So much of what it says stands in a message.
const QUOTED_BYTES_MAX: usize = 200;

/// The beginning of what it says, for a message.
pub(super) fn quoted(said: &str) -> String {
    cut::beginning(said.trim(), QUOTED_BYTES_MAX)
}

/// One field of *show stat … json*.
#[derive(Deserialize)]
struct Field {
    field: FieldName,
    value: FieldValue,
}

#[derive(Deserialize)]
struct FieldName {
    name: String,
}

#[derive(Deserialize)]
struct FieldValue {
    value: Value,
}

fn unread(what: &str, answer: &str) -> Failure {
    let first = answer.lines().map(str::trim).find(|line| !line.is_empty());
    let first = first.map_or_else(|| "nothing".to_owned(), quoted);
    let message = format!("HAProxy's answer to `{what}` can't be read: {first}");
    Failure::new(FailureClass::Precondition, message).with_code("haproxy-answer")
}

/// One that ends before its end, as that of a process does which ends: it may answer later.
fn cut_off(what: &str, answer: &str) -> Failure {
    Failure { class: FailureClass::Transient, ..unread(what, answer) }
}

/// The number of a backend, which tells it from a frontend of the same name; nothing of one without
/// servers.
///
/// # Errors
/// There is no such backend; the socket may not ask; an answer of another version.
pub(super) fn number(backend: &str, state: &str) -> Result<Option<u32>, Failure> {
    let rows = rows(backend, state)?;
    let of = |row: &BTreeMap<&str, &str>| row.get("be_id")?.parse().ok();
    match rows.first() {
        None => Ok(None),
        Some(row) => of(row).map(Some).ok_or_else(|| unread("show servers state", state)),
    }
}

/// The servers of a backend, of both answers.
///
/// # Errors
/// As of [`number`]; answers of which one is cut off.
pub(super) fn slots(backend: &str, state: &str, stat: &str) -> Result<Vec<Slot>, Failure> {
    let rows = rows(backend, state)?;
    refused(backend, stat)?;
    let told = stats(stat)?;
    let of = |row: &BTreeMap<&str, &str>| slot(row, &told);
    let slots: Option<Vec<Slot>> = rows.iter().map(of).collect();
    let whole = slots.filter(|slots| slots.len() == told.len());
    whole.ok_or_else(|| unread("show servers state", state))
}

/// A line each of *show servers state*, by the columns' names.
fn rows<'a>(backend: &str, state: &'a str) -> Result<Vec<BTreeMap<&'a str, &'a str>>, Failure> {
    refused(backend, state)?;
    let mut lines = state.lines().map(str::trim).filter(|line| !line.is_empty());
    if lines.next() != Some(STATE_VERSION) {
        return Err(unread("show servers state", state));
    }
    let header = lines.next().and_then(|line| line.strip_prefix("# "));
    let header = header.ok_or_else(|| unread("show servers state", state))?;
    let columns: Vec<&str> = header.split(' ').collect();
    let row = |line: &'a str| columns.iter().copied().zip(line.split(' ')).collect();
    let rows: Vec<BTreeMap<&str, &str>> = lines.map(row).collect();
    match rows.iter().all(|row| row.get("be_name") == Some(&backend)) {
        true => Ok(rows),
        false => Err(unread("show servers state", state)),
    }
}

/// Whether an answer ends as every answer does, with an empty line (HAProxy Management Guide, *9.3.
/// Unix Socket commands*): one that is cut off in its head has no servers otherwise.
///
/// # Errors
/// It was cut off.
pub(super) fn must_be_whole(state: &str) -> Result<(), Failure> {
    match state.ends_with("\n\n") {
        true => Ok(()),
        false => Err(cut_off("show servers state", state)),
    }
}

/// Whether a text is a state of this backend, as far as it goes.
pub(super) fn is_state(backend: &str, text: &str) -> bool {
    rows(backend, text).is_ok()
}

fn slot(state: &BTreeMap<&str, &str>, told: &BTreeMap<String, Stat>) -> Option<Slot> {
    let number = |column: &str| state.get(column)?.parse::<u32>().ok();
    let name = (*state.get("srv_name")?).to_owned();
    let admin = number("srv_admin_state")?;
    let checks = number("srv_check_state")?;
    let is_checked = checks & IS_CHECKED != 0;
    let is_unwatched = is_checked && checks & CHECKS_ARE_MADE == 0;
    let stat = told.get(&name)?;
    let is_in_maintenance = admin & MAINTENANCE != 0;
    let (health, reason) = match is_checked {
        _ if is_in_maintenance => (Health::Unused, Some("it is in maintenance".to_owned())),
        false => (Health::Unused, Some("its server has no `check`".to_owned())),
        true if is_unwatched => {
            (Health::Checking, Some(format!("its checks are off (`enable health …/{name}`)")))
        }
        true if UP.contains(&number("srv_op_state")?) => (Health::Healthy, None),
        true if number("srv_check_result")? == FAILED => (Health::Unhealthy, stat.why.clone()),
        true => (Health::Checking, Some("its checks are under way".to_owned())),
    };
    Some(Slot {
        address: state.get("srv_addr")?.parse().ok(),
        port: u16::try_from(number("srv_port")?).ok()?,
        is_in_maintenance,
        is_drained: admin & DRAINED != 0,
        is_checked,
        is_unwatched,
        weight: number("srv_uweight")?,
        is_kept: *state.get("srv_fqdn")? != "-",
        health,
        reason,
        sessions: stat.sessions,
        has_cookie: stat.has_cookie,
        name,
    })
}

struct Stat {
    sessions: u32,
    has_cookie: bool,
    why: Option<String>,
}

fn stats(answer: &str) -> Result<BTreeMap<String, Stat>, Failure> {
    let read = serde_json::from_str::<Vec<Vec<Field>>>(answer.trim());
    let all = read.map_err(|error| match error.is_eof() {
        true => cut_off("show stat", answer),
        false => unread("show stat", answer),
    })?;
    let of = |fields: Vec<Field>| {
        let fields: BTreeMap<String, Value> =
            fields.into_iter().map(|one| (one.field.name, one.value.value)).collect();
        let text = |name: &str| fields.get(name).and_then(Value::as_str);
        let number = |name: &str| fields.get(name).and_then(Value::as_u64).unwrap_or_default();
        let sessions = number("scur").saturating_add(number("qcur"));
        let told: Vec<&str> = ["check_desc", "last_chk"].into_iter().filter_map(text).collect();
        let why = Some(told.join(": ")).filter(|why| !why.is_empty());
        let sessions = u32::try_from(sessions).unwrap_or(u32::MAX);
        let has_cookie = text("cookie").is_some_and(|cookie| !cookie.is_empty());
        Some((text("svname")?.to_owned(), Stat { sessions, has_cookie, why }))
    };
    let all: Option<BTreeMap<String, Stat>> = all.into_iter().map(of).collect();
    all.ok_or_else(|| unread("show stat", answer))
}

/// What it says in words of its own in place of an answer.
fn refused(backend: &str, answer: &str) -> Result<(), Failure> {
    let answer = answer.trim();
    match answer {
        "Can't find backend." | "No such proxy." | "No such backend." => {
            let message = format!("HAProxy has no backend `{backend}`");
            Err(Failure::new(FailureClass::Precondition, message).with_code("no-backend"))
        }
        _ if answer.starts_with("Permission denied") => {
            let message = "HAProxy's socket may not be asked for that: it needs `level admin` \
                           (`stats socket PATH level admin`)";
            Err(Failure::new(FailureClass::Denied, message).with_code("haproxy-level"))
        }
        _ => Ok(()),
    }
}

/// Whether a state that was written down has each server as it is.
pub(super) fn is_kept(backend: &str, slots: &[Slot], kept: &str) -> bool {
    let Ok(rows) = rows(backend, kept) else { return false };
    let by_name: BTreeMap<&str, &BTreeMap<&str, &str>> =
        rows.iter().filter_map(|row| Some((*row.get("srv_name")?, row))).collect();
    let is_same = |slot: &Slot| {
        let Some(row) = by_name.get(slot.name.as_str()) else { return false };
        let number = |column: &str| row.get(column)?.parse::<u32>().ok();
        let address = row.get("srv_addr").and_then(|text| text.parse::<IpAddr>().ok());
        let is_so = |bits: u32| number("srv_admin_state").is_some_and(|admin| admin & bits != 0);
        slot.address == address
            && number("srv_port") == Some(slot.port.into())
            && number("srv_uweight") == Some(slot.weight)
            && is_so(MAINTENANCE) == slot.is_in_maintenance
            && is_so(DRAINED) == slot.is_drained
    };
    slots.iter().all(is_same)
}

/// The workers that a reload has replaced and that still serve somebody, by their processes'
/// numbers (HAProxy Management Guide, *show proc*).
pub(super) fn old_workers(answer: &str) -> Vec<u32> {
    let lines = answer.lines().map(str::trim);
    let of_old = lines.skip_while(|line| !line.starts_with("# old workers")).skip(1);
    let of_old = of_old.take_while(|line| !line.starts_with('#'));
    of_old.filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const STATE: &str = "1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight \
srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state \
srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord
3 web 1 new - 0 37 1 1 1 1 0 0 14 0 0 0 slot.invalid 1 -
3 web 2 free 127.0.0.1 0 5 1 1 1 1 0 0 14 0 0 0 localhost 1 -
3 web 3 drained 10.0.0.2 2 12 7 1 1 15 3 3 6 0 0 0 localhost 8080 -
3 web 4 on 10.0.0.3 2 4 1 1 1 15 3 3 6 0 0 0 - 8080 -
3 web 5 down 10.0.0.4 0 0 1 1 1 8 2 0 6 0 0 0 - 8080 -
3 web 6 anew 10.0.0.5 0 12 1 1 1 8 3 0 6 0 0 0 - 8080 -
3 web 7 plain 10.0.0.6 2 0 1 1 1 1 0 0 0 0 0 0 - 8080 -
3 web 8 off 10.0.0.7 2 4 1 1 1 15 3 3 2 0 0 0 - 8080 -

";

    fn stat(names: &[&str]) -> String {
        let field = |name: &str, value: Value| {
            let (field, value) = (json!({ "pos": 0, "name": name }), json!({ "value": value }));
            json!({ "field": field, "value": value })
        };
        let of = |name: &&str| {
            let check = field("check_desc", "Layer4 connection problem".into());
            let last = field("last_chk", "Connection refused".into());
            let (scur, qcur) = (field("scur", 2.into()), field("qcur", 1.into()));
            vec![field("svname", (*name).into()), check, last, scur, qcur]
        };
        serde_json::to_string(&names.iter().map(of).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn servers_are_read_as_they_are_told() {
        let all = stat(&["new", "free", "drained", "on", "down", "anew", "plain", "off"]);
        let slots = slots("web", STATE, &all).unwrap();
        let told: Vec<_> = slots
            .iter()
            .map(|slot| {
                let (name, health) = (slot.name.as_str(), slot.health);
                (name, slot.is_free(), slot.is_enabled(), slot.is_kept, health)
            })
            .collect();
        assert_eq!(
            told,
            [
                ("new", false, false, true, Health::Unused),
                ("free", true, false, true, Health::Unused),
                ("drained", false, false, true, Health::Healthy),
                ("on", false, true, false, Health::Healthy),
                ("down", false, true, false, Health::Unhealthy),
                ("anew", false, false, false, Health::Checking),
                ("plain", false, true, false, Health::Unused),
                // Its checks were turned off while it was up: nobody knows whether it is.
                ("off", false, true, false, Health::Checking),
            ]
        );
        let why = slots[4].reason.as_deref();
        assert_eq!(why, Some("Layer4 connection problem: Connection refused"));
        assert_eq!((slots[2].weight, slots[2].sessions), (7, 3));
        assert!(slots[2].is_at("10.0.0.2".parse().unwrap(), 8080));
        assert_eq!(number("web", STATE), Ok(Some(3)));
        // The same cut off between two servers.
        let cut: String = STATE.lines().take(4).map(|line| format!("{line}\n")).collect();
        super::slots("web", &cut, &all).unwrap_err();
    }

    #[test]
    fn what_is_no_answer_is_told_as_what_it_is() {
        let all = stat(&["new", "free"]);
        for (state, stat, wanted) in [
            ("Can't find backend.\n", all.as_str(), "no backend `web`"),
            (STATE, "No such proxy.\n", "no backend `web`"),
            ("Permission denied\n", all.as_str(), "level admin"),
            ("2\n# a b\n", all.as_str(), "can't be read: 2"),
            (STATE, all.as_str(), "can't be read: 1"),
            ("", all.as_str(), "can't be read: nothing"),
            (&STATE.replace(" web ", " other "), all.as_str(), "can't be read: 1"),
        ] {
            let told = slots("web", state, stat).unwrap_err();
            assert!(told.message.contains(wanted), "{}", told.message);
        }
    }

    #[test]
    fn what_is_cut_off_is_no_answer() {
        must_be_whole(STATE).unwrap();
        for length in 0..STATE.len() {
            must_be_whole(&STATE[..length]).unwrap_err();
        }
    }

    #[test]
    fn old_workers_are_those_that_a_reload_left() {
        let told = "#<PID>          <type>          <reloads>       <uptime>        <version>\n\
                    1162            master          5 [failed: 0]   0d00h02m07s     2.6.12\n\
                    # workers\n1271            worker          1               0d00h00m00s\n\
                    # old workers\n1233            worker          3               0d00h00m43s\n\
                    1240            worker          2               0d00h00m40s\n\
                    # programs\n1244            foo             0               0d00h00m00s\n\n";
        assert_eq!(old_workers(told), [1233, 1240]);
        assert_eq!(old_workers("#<PID>\n# workers\n1 worker\n# programs\n"), [0; 0]);
    }
}
