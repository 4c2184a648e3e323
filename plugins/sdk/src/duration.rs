//! Durations as manifests write them.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;

/// A duration in milliseconds, written `"30s"`, `"2m"`, `"1h30m"`, `"250ms"`, or as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Duration(pub u64);

impl Duration {
    /// A duration of whole seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// The duration in milliseconds.
    pub fn ms(self) -> u64 {
        self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let mut rest = text;
        let mut total_ms = 0u64;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit())?;
            let number: u64 = rest[..digits].parse().ok()?;
            rest = &rest[digits..];
            let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
            let unit_ms = match &rest[..unit] {
                "ms" => 1,
                "s" => 1000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return None,
            };
            total_ms = total_ms.checked_add(number.checked_mul(unit_ms)?)?;
            rest = &rest[unit..];
        }
        (!text.is_empty()).then_some(Self(total_ms))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u64); 5] =
            [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut left_ms = self.0;
        for (unit, unit_ms) in UNITS {
            if left_ms >= unit_ms {
                write!(f, "{}{unit}", left_ms / unit_ms)?;
                left_ms %= unit_ms;
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(ms) => Ok(Self(ms)),
            Written::Text(text) => Self::parse(&text).ok_or_else(|| {
                D::Error::custom(format!("`{text}` is no duration such as \"30s\""))
            }),
        }
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "\"30s\", \"2m\", \"1h30m\", or milliseconds",
            "anyOf": [
                { "type": "integer", "minimum": 0 },
                { "type": "string", "pattern": "^([0-9]+(ms|s|m|h|d))+$" },
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is tested here is built for debugging; what is shipped is not.
    #[test]
    fn sums_that_do_not_fit_end_a_shipped_plugin_too() {
        let (_, release) = include_str!("../../Cargo.toml")
            .split_once("[profile.release]")
            .expect("how plugins are built");
        assert!(release.contains("overflow-checks = true"), "{release}");
    }

    #[test]
    fn durations_are_read_as_manifests_write_them() {
        for (text, ms) in [("30s", 30_000), ("250ms", 250), ("1h30m", 5_400_000), ("2m", 120_000)] {
            assert_eq!(Duration::parse(text), Some(Duration(ms)), "{text}");
            assert_eq!(Duration(ms).to_string(), text, "and shown so");
        }
        assert_eq!(Duration::parse("18446744073709551615ms"), Some(Duration(u64::MAX)));
        assert_eq!(Duration::seconds(u64::MAX), Duration(u64::MAX));
        for text in [
            "",
            "30",
            "s",
            "18446744073709551615ms1ms",
            "18446744073709551s1s",
            "3 s",
            "-1s",
            "1w",
            "99999999999999999999s",
        ] {
            assert_eq!(Duration::parse(text), None, "{text}");
        }
    }
}
