//! If the operation is interrupted at any time and for any reason, it still won't take your
//! application down: on two engines, behind HAProxy, under load.
//!
//! What is promised is counted apart (docs/apps.md): a request that may be repeated, and whose
//! answer has not begun, never fails while one target is healthy, whatever happens; others never
//! fail where nothing crashed; a WebSocket ends when its container is drained, and not before.

use crate::liar::Lie;
use crate::load::Counts;
use crate::parts::{are_possible, has};
use crate::place::operation;
use crate::shop::{Promised, QUICKLY, Shop, arguments, deploy, deploy_until};
use std::process::Command;

/// The calls of a deploy that change something, in their order.
const EFFECTS: [&str; 9] = [
    "docker.pull-image",
    "docker.create-container",
    "docker.start-container",
    "load-balancer.add",
    "load-balancer.enable",
    "load-balancer.drain",
    "load-balancer.remove",
    "docker.stop-container",
    "docker.remove-container",
];

/// Where each run of the tests kills it, once for each of these.
const KILLS: [&str; 9] = [
    "docker.create-container#1=crash-after",
    "docker.start-container#2=crash-before",
    "load-balancer.add#1=crash-after",
    "load-balancer.enable#1=crash-after",
    "load-balancer.drain#1=crash-before",
    "load-balancer.drain#2=crash-after",
    "load-balancer.remove#1=crash-after",
    "docker.stop-container#1=crash-after",
    "docker.remove-container#2=crash-before",
];

/// Whether all points and all that is wrong is tried, as `make soak` does.
fn is_all() -> bool {
    std::env::var_os("STEPBACK_DEPLOYS").is_some_and(|which| which == "all")
}

#[test]
fn a_deploy_never_takes_the_app_down() {
    if !are_possible() || !haproxy_is_possible() {
        return;
    }
    let shop = Shop::open("100ms");
    shop.during("a deploy", Promised::Everybody, |shop| shop.deploys("two", &[]));
    shop.during("one that never gets healthy", Promised::EverybodyAndNothingEnds, |shop| {
        deploy(&shop.parts, "sick", &[]).exits(3).says("verdict: restored");
        shop.is_released("two", "sick");
    });
    let what = "what comes before the release fails";
    shop.during(what, Promised::EverybodyAndNothingEnds, |shop| {
        let fails = ["-i", "before_release=[[\"true\"], [\"false\"]]"];
        deploy(&shop.parts, "one", &fails).exits(4).says("before-release");
        shop.is_released("two", "before");
    });
    shop.during("back to an earlier release", Promised::Everybody, |shop| {
        shop.parts.run(&["run", "--like", "1"]).exits(0);
        shop.is_released("one", "--like");
    });
    shop.restarted();
    shop.interrupted();
    shop.killed();
    shop.crashes();
}

/// A deploy that is wrong is seen by those who ask.
#[test]
fn a_deploy_that_is_wrong_is_seen() {
    if are_possible() && haproxy_is_possible() {
        // An old verdict is believed until the first check.
        Shop::open("2s").teeth();
    }
}

fn haproxy_is_possible() -> bool {
    crate::haproxy::is_possible() && has("ip", "iproute2") && has("script", "bsdutils")
}

impl Shop {
    /// What serves is made once more.
    fn restarted(&self) {
        self.during("a restart", Promised::Everybody, |shop| {
            let before = shop.containers();
            let path = operation("restart-app");
            let mut all = vec!["run", &path];
            all.extend(QUICKLY.iter().flat_map(|input| ["-i", input]));
            shop.parts.run(&all).exits(0);
            assert_ne!(shop.containers(), before);
            shop.is_released("one", "a restart");
        });
    }

    /// Cancelled, ended and left alone at several steps.
    fn interrupted(&self) {
        let steps = match is_all() {
            true => &["survey", "pull", "start", "healthy", "add", "enable", "drain"][..],
            false => &["start", "add", "enable", "drain"],
        };
        for step in steps {
            // Those whom a new container serves by then have to come again.
            let promised = match ["enable", "drain"].contains(step) {
                true => Promised::Everybody,
                false => Promised::EverybodyAndNothingEnds,
            };
            self.during(&format!("cancelled at {step}"), promised, |shop| {
                let (now, next) = (shop.current(), shop.other());
                let at = match *step {
                    "survey" => (*step).to_owned(),
                    _ => format!("{step}["),
                };
                let ran = deploy_until(&shop.parts, next, &at, |parts, _| {
                    let listed = parts.run(&["list", "--json"]).said;
                    let id = listed.split("\"id\":").nth(1).expect("an operation");
                    let id: String = id.trim().chars().take_while(char::is_ascii_digit).collect();
                    parts.run(&["cancel", &id]);
                });
                ran.exits(3).says("verdict: restored");
                shop.is_released(now, step);
            });
        }
        for (step, goes) in [("enable[", "resume"), ("drain[", "rollback")] {
            self.during(&format!("ended at {step}, {goes}"), Promised::Everybody, |shop| {
                let (now, next) = (shop.current(), shop.other());
                let ran = deploy_until(&shop.parts, next, step, |_, pid| end(pid));
                assert_eq!(ran.code, Some(6), "it is left as it is\n{}", ran.said);
                let id = ran.id().to_owned();
                match goes {
                    "resume" => shop.parts.run(&["resume", &id]).exits(0),
                    _ => shop.parts.run(&["rollback", &id]).exits(3),
                };
                shop.is_released(if goes == "resume" { next } else { now }, goes);
            });
        }
        self.during("its terminal is closed", Promised::Everybody, |shop| {
            let next = shop.other();
            let all = arguments(&shop.parts, next, &[]);
            let all: Vec<&str> = all.iter().map(String::as_str).collect();
            shop.parts.run_in_a_terminal_that_closes(&all, "enable");
            shop.is_released(next, "its terminal");
        });
    }

    /// Killed with SIGKILL at each function, and taken up again.
    fn killed(&self) {
        let everywhere = EFFECTS.iter().flat_map(|effect| {
            [1, 2].into_iter().flat_map(move |nth| {
                ["before", "after"].map(move |when| format!("{effect}#{nth}=crash-{when}"))
            })
        });
        let points: Vec<String> = match is_all() {
            true => everywhere.collect(),
            false => KILLS.map(str::to_owned).to_vec(),
        };
        for at in points {
            self.during(&format!("killed at {at}"), Promised::Everybody, |shop| {
                let next = shop.other();
                let ran = deploy(&shop.parts, next, &["--inject", &at]);
                assert_eq!(ran.code, None, "{at}: it was not killed\n{}", ran.said);
                let id = ran.id().to_owned();
                shop.parts.run(&["resume", &id]).exits(0);
                shop.is_released(next, &at);
            });
        }
    }

    /// What is in a container when that is killed may be lost to who may not repeat it.
    fn crashes(&self) {
        for step in ["healthy[", "drain["] {
            let what = format!("a new container is killed at {step}");
            self.during(&what, Promised::WhoMayRepeat, |shop| {
                let (now, next) = (shop.current(), shop.other());
                let ran = deploy_until(&shop.parts, next, step, |parts, _| {
                    parts.a.docker(&["kill", &Self::newest(&parts.a)]);
                });
                ran.exits(3).says("verdict: restored");
                shop.is_released(now, step);
            });
        }
        self.during("an old container is killed", Promised::WhoMayRepeat, |shop| {
            deploy_until(&shop.parts, shop.other(), "enable[", |parts, _| {
                parts.a.docker(&["kill", &Self::oldest(&parts.a)]);
            });
        });
        self.during("HAProxy is reloaded", Promised::WhoMayRepeat, |shop| {
            let next = shop.other();
            deploy_until(&shop.parts, next, "drain[", |_, _| shop.haproxy.reload()).exits(0);
            shop.is_released(next, "reload");
        });
        self.during("an engine is stopped and started", Promised::WhoMayRepeat, |shop| {
            deploy_until(&shop.parts, shop.other(), "healthy[", |parts, _| parts.b.restart());
        });
        self.during("the next one", Promised::Everybody, |shop| shop.deploys("two", &[]));
    }

    fn teeth(&self) {
        let text = std::fs::read_to_string(operation("deploy-app")).expect("the manifest");
        let early = "[[steps]]\nid = \"early\"\nuses = \"docker/stop-container\"\n\
                     for_each = \"steps.survey.old\"\n\
                     with = { host = \"{{ each.value.host }}\", \
                     container = \"{{ each.value.container }}\" }\n";
        let pull = "[[steps]]\nid = \"pull\"";
        let wrong = text.replacen(pull, &format!("{early}{pull}"), 1);
        self.is_seen("the old one is stopped first", 10, |shop| shop.runs(&wrong, "two"));
        if !is_all() {
            return;
        }
        self.deploys("one", &[]);
        // An app that needs some time: nobody notices, unless it is not waited for.
        self.during("one that is late", Promised::Everybody, |shop| shop.deploys("late", &[]));
        self.deploys("two", &[]);
        for lie in [Lie::IsUp, Lie::ChecksAnew] {
            let what = format!("it is told a lie: {lie:?}");
            self.is_seen(&what, 1, |shop| shop.lied_to(lie, |shop| shop.runs(&text, "late")));
            self.deploys("two", &[]);
        }
        // One that ends at once: nobody notices, unless those whom it serves are not waited for.
        self.during("one that is rude", Promised::Everybody, |shop| shop.deploys("rude", &[]));
        self.during("and it goes", Promised::Everybody, |shop| shop.deploys("two", &[]));
        self.deploys("rude", &[]);
        let told = Lie::NobodyIsServed;
        let what = "nobody waits for those who are served";
        self.is_seen(what, 1, |shop| shop.lied_to(told, |shop| shop.runs(&text, "rude")));
    }

    /// Run a manifest as a deploy.
    fn runs(&self, manifest: &str, image: &str) {
        let path = self.parts.path("wrong.toml");
        std::fs::write(&path, manifest).expect("a file");
        let mut all = arguments(&self.parts, image, &["-i", "linger=0ms"]);
        all[1] = path.display().to_string();
        self.parts.run(&all.iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// Of those who ask while it is done some are turned away; where that goes by chance, it is
    /// done some times.
    #[track_caller]
    fn is_seen(&self, what: &str, least: u64, does: impl Fn(&Self)) {
        const TRIES: usize = 5;
        let before = self.load.counts();
        let lost = |now: &[Counts; 3]| {
            let of = |at: usize| now[at].since(before[at]);
            of(0).failed + of(0).cut + of(1).failed + of(1).cut + of(1).closed
        };
        let mut now = before;
        for _ in 0..TRIES {
            does(self);
            std::thread::sleep(std::time::Duration::from_millis(1_500));
            now = self.load.counts();
            if lost(&now) >= least {
                break;
            }
        }
        let [gets, posts] = [0, 1].map(|at| now[at].since(before[at]));
        println!("{what}: {gets:?}, others {posts:?}");
        assert!(lost(&now) >= least, "{what}: nobody saw it: {gets:?} {posts:?}");
        // Whoever waits for an answer in vain waits for long.
        let is_served = || {
            let answered = self.load.counts().map(|counts| counts.answered);
            answered.iter().zip(now).all(|(answered, before)| *answered > before.answered)
        };
        self.parts.until("all are served again", is_served);
    }
}

/// Tell a process to end (SIGTERM).
fn end(pid: u32) {
    let ended = Command::new("kill").arg(pid.to_string()).status().expect("kill");
    assert!(ended.success());
}
