//! The document on apps, word for word but for paths, endpoints, the registry and the front:
//! from two engines and an HAProxy to the first deploy, the next one, and back.

use crate::documents::{block, run};
use crate::haproxy::{self, HaProxy, get};
use crate::parts::{TestCluster, are_possible, has};
use crate::shop;
use std::path::Path;

#[test]
fn the_first_deploy_of_the_documents_works_as_written() {
    if !are_possible() || !haproxy::is_possible() || !has("ip", "iproute2") {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let document = std::fs::read_to_string(root.join("docs/apps.md")).expect("the document");
    let parts = TestCluster::start();
    let _bridges = shop::bridges(&parts);
    shop::make_images(&parts);
    std::os::unix::fs::symlink(root.join("operations"), parts.path("operations")).expect("a link");

    let dir = parts.path("haproxy");
    let below = |text: String| {
        let dir = dir.display().to_string();
        text.replace("/var/lib/haproxy", &dir).replace("/run/haproxy", &dir)
    };
    let front = format!("{}:8080", haproxy::address());
    let config = below(block(&document, "server-template"));
    let config = config.replace("bind :80", &format!("bind {front}")).trim_end().to_owned() + "\n";
    assert!(config.contains(&front), "{config}");
    let _haproxy = HaProxy::of(&dir, &config);

    let own = below(block(&document, "provider = \"onebox\""))
        .replace("/srv/stepback", &parts.path("onebox").display().to_string())
        .replace("unix:///run/docker.sock", &parts.a.host())
        .replace("unix:///run/docker-b.sock", &parts.b.host());
    std::fs::write(parts.path("stepback.toml"), own).expect("a file");
    parts.set("DATABASE_URL", "postgres://app:kept by nobody/8?@db/shop");

    let here = |text: String| {
        let image = parts.registry.image("shop:");
        text.replace("registry.example/shop:", &image).replace("\\\n", " ")
    };
    run(&parts, "stepback env check shop").exits(0).says("10 of 10 slots are free");
    let first = here(block(&document, "-e shop -i app=shop -i image="));
    run(&parts, &first).exits(0).says("release = 1");
    assert_eq!(get(&front, "/").as_deref(), Some("1"));
    let environment = parts.a.docker(&["inspect", "--format", "{{ .Config.Env }}", "shop-r1-1"]);
    assert!(environment.contains("DATABASE_URL=postgres://app:"), "{environment}");
    // The next one is the same with another image; then what runs is made once more.
    run(&parts, &first.replace("shop:1", "shop:2")).exits(0).says("release = 2");
    assert_eq!(get(&front, "/").as_deref(), Some("2"));
    let again = here(block(&document, "operations/restart-app.toml"));
    run(&parts, &again).exits(0).says("release = 3");
    assert_eq!(get(&front, "/").as_deref(), Some("2"));
    // And back, by its number.
    assert!(document.contains("`stepback run --like ID`"));
    run(&parts, "stepback run --like 1").exits(0).says("release = 4");
    assert_eq!(get(&front, "/").as_deref(), Some("1"));
    let all = parts.b.docker(&["ps", "--all", "--format", "{{.Names}}"]);
    assert_eq!(all.lines().count(), 2, "{all}");
}
