//! What the plugin for EBS refuses before anything is made is what the simulated EC2 refuses, and
//! nothing else: two tables, one in the sandbox and one behind it, that say the same.

#[path = "../../../../plugins/ebs/src/kinds.rs"]
mod kinds;

use std::collections::BTreeMap;
use stepback_clock::Clock;
use stepback_core::calls::Performance;
use stepback_core::step::EffectOutcome;
use stepback_core::*;
use stepback_provider::{EffectContext, Notes, Provider};
use stepback_simulated::Simulated;
use tokio_util::sync::CancellationToken;

const KINDS: [&str; 8] = ["gp2", "gp3", "io1", "io2", "st1", "sc1", "standard", "gp4"];
const SIZES: [u32; 11] = [0, 1, 3, 4, 124, 125, 1_024, 1_025, 16_384, 65_537, u32::MAX];
const IOPS: [Option<u32>; 13] = [
    None,
    Some(0),
    Some(100),
    Some(200),
    Some(201),
    Some(3_000),
    Some(4_000),
    Some(4_001),
    Some(62_500),
    Some(62_501),
    Some(64_001),
    Some(256_000),
    Some(u32::MAX),
];
const MIBPS: [Option<u32>; 6] =
    [None, Some(124), Some(750), Some(751), Some(2_001), Some(u32::MAX)];

fn context(number: usize) -> EffectContext {
    EffectContext {
        store: StoreId("store".to_owned()),
        operation: OperationId(1),
        token: Token(format!("token-{number}")),
        epoch: Epoch(1),
        undo: false,
        cancel: CancellationToken::new(),
        looked: stepback_provider::looked::Looked::default(),
        notes: Notes::default(),
    }
}

async fn takes(call: &Call) -> bool {
    let world = Simulated::in_memory("", Clock::real()).unwrap();
    match world.perform(call, &context(1)).await {
        EffectOutcome::Done(_) => true,
        EffectOutcome::Refused(failure) => {
            assert_eq!(failure.class, FailureClass::Refused, "{call:?}: {failure}");
            false
        }
        EffectOutcome::Unknown(why) => panic!("{call:?}: {why}"),
    }
}

#[tokio::test]
async fn the_plugin_refuses_what_ec2_refuses() {
    for kind in KINDS {
        for size_gib in SIZES {
            for iops in IOPS {
                for throughput_mibps in MIBPS {
                    let call = Call::Ebs(EbsCall::CreateVolume {
                        zone: "a".to_owned(),
                        size_gib,
                        volume_type: kind.to_owned(),
                        snapshot: None,
                        tags: BTreeMap::new(),
                        performance: Performance { iops, throughput_mibps },
                        encrypted: false,
                    });
                    let unfit = kinds::unfit(kind, size_gib, iops, throughput_mibps);
                    assert_eq!(unfit.is_none(), takes(&call).await, "{call:?}: {unfit:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn the_plugin_lets_grow_what_ec2_lets_grow() {
    for kind in KINDS.into_iter().filter(|kind| *kind != "gp4") {
        for size_gib in SIZES {
            let seed = format!("[volumes.vol-1]\nsize_gib = 0\ntype = \"{kind}\"\nzone = \"a\"");
            let world = Simulated::in_memory(&seed, Clock::real()).unwrap();
            let grow = Call::Ebs(EbsCall::ModifyVolume { volume: "vol-1".into(), size_gib });
            let grown = world.perform(&grow, &context(1)).await;
            let unfit = kinds::unfit_size(kind, size_gib);
            let is_done = matches!(grown, EffectOutcome::Done(_));
            assert_eq!(unfit.is_none(), is_done, "{kind} {size_gib}: {unfit:?}");
        }
    }
}
