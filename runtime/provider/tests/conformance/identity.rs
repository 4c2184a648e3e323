//! A name tells nothing of whose it is: what was removed and made anew under it is another thing.

use crate::bench::*;
use crate::engine::{self, host};
use stepback_core::reverse::{Reversal, reverse};
use stepback_core::*;

/// A container on a Docker volume: the calls that make them, what they are, and the calls that
/// remove them again.
struct Pair {
    make: [Call; 2],
    are: [Resource; 2],
    remove: [Call; 2],
    name: String,
}

async fn pair(bench: &Bench) -> Pair {
    engine::clean(bench).await;
    bench.done(&engine::pull(bench)).await;
    let (name, volume) = (format!("c{}", fresh()), format!("v{}", fresh()));
    Pair {
        make: [engine::create_volume(&volume, &[]), engine::create(bench, &name, &volume)],
        are: [
            Resource::DockerVolume { host: host().0, name: volume.clone() },
            Resource::Container { host: host().0, name: name.clone() },
        ],
        remove: [engine::remove(&name), engine::remove_volume(&volume)],
        name,
    }
}

impl Pair {
    async fn seen(&self, bench: &Bench) -> [Facts; 2] {
        [bench.observe(&self.are[0]).await, bench.observe(&self.are[1]).await]
    }
}

async fn all(bench: &Bench, calls: &[Call]) {
    for call in calls {
        bench.done(call).await;
    }
}

pub async fn what_was_made_anew_is_another(bench: &Bench) {
    let pair = pair(bench).await;
    all(bench, &pair.make).await;
    let first = pair.seen(bench).await;
    assert_eq!(pair.seen(bench).await, first, "{:?}: it is the same", bench.world);
    all(bench, &pair.remove).await;
    all(bench, &pair.make).await;
    let second = pair.seen(bench).await;
    for (first, second) in first.iter().zip(&second) {
        assert!(first.identity().is_some(), "{:?}: {first}", bench.world);
        assert!(first.is_another(second), "{:?}: {first:?} and {second:?}", bench.world);
        assert_eq!(
            first.differing(second),
            Vec::<String>::new(),
            "{:?}: {first} {second}",
            bench.world
        );
    }
    all(bench, &pair.remove).await;
}

pub async fn what_has_another_name_is_the_same(bench: &Bench) {
    let pair = pair(bench).await;
    all(bench, &pair.make).await;
    let first = pair.seen(bench).await[1].clone();
    let to = format!("d{}", fresh());
    bench.done(&engine::rename(&pair.name, &to)).await;
    let there = Resource::Container { host: host().0, name: to.clone() };
    let renamed = bench.observe(&there).await;
    assert_eq!(renamed.identity(), first.identity(), "{:?}", bench.world);
    // Whoever opens the world anew sees the same.
    assert_eq!((bench.again)().observe(&there).await, Ok(renamed), "{:?}", bench.world);
    // What gets the name that is free again is none of it.
    bench.done(&pair.make[1]).await;
    assert!(pair.seen(bench).await[1].is_another(&first), "{:?}", bench.world);
    bench.done(&engine::remove(&to)).await;
    all(bench, &pair.remove).await;
}

/// Somebody removed what an effect made, and made one just like it: that one is not removed.
pub async fn what_only_has_the_name_is_not_taken_back(bench: &Bench) {
    let pair = pair(bench).await;
    let volume = observed(bench, &pair.make[0]).await;
    let container = observed(bench, &pair.make[1]).await;
    for effect in [&volume, &container] {
        let reversal = reverse(effect, &seen_now(bench, effect).await);
        assert!(matches!(reversal, Reversal::Calls(_)), "{:?}: {reversal:?}", bench.world);
    }
    all(bench, &pair.remove).await;
    all(bench, &pair.make).await;
    for effect in [&volume, &container] {
        let reversal = reverse(effect, &seen_now(bench, effect).await);
        assert!(matches!(reversal, Reversal::Cannot(_)), "{:?}: {reversal:?}", bench.world);
    }
    all(bench, &pair.remove).await;
}
