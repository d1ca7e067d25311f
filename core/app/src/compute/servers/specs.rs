//! What extra specs of a flavor, and properties of an image, ask of placement.
//!
//! `resources:CLASS=N` replaces an amount, `trait:NAME=required|forbidden` narrows. With a suffix after the first
//! word (`resources1:`, `trait_GPU:`) they form a group that one provider serves as a whole; `group_policy` says
//! whether two groups may be served by the same one.

use canopy_types::resources::{Amounts, MAX_AMOUNT};
use canopy_types::{Error, Result};
use std::collections::BTreeMap;

/// Groups of one flavor. Each may multiply the ways there are.
const MOST_GROUPS: usize = 64;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Specs {
    /// In place of what the flavor says; 0 asks for nothing.
    pub amounts: Amounts,
    pub marks: Marks,
    /// By suffix.
    pub groups: BTreeMap<String, Group>,
    /// No two groups may share a provider.
    pub isolate: bool,
}

/// Traits that are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    pub required: Vec<String>,
    pub forbidden: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    pub amounts: Amounts,
    pub marks: Marks,
}

type Texts = BTreeMap<String, String>;

impl Specs {
    /// Keys that are not placement's are passed over. An image has traits without a suffix only.
    pub fn of(flavor: &Texts, image: Option<&Texts>) -> Result<Self> {
        let mut specs = Self::default();
        for (key, value) in flavor {
            if let Some((suffix, class)) = split(key, "resources") {
                let amount = amount(key, value)?;
                match suffix {
                    "" => specs.amounts.insert(class.to_owned(), amount),
                    _ if amount == 0 => None,
                    _ => specs.group(suffix).amounts.insert(class.to_owned(), amount),
                };
            } else if let Some((suffix, name)) = split(key, "trait") {
                let marks = match suffix {
                    "" => &mut specs.marks,
                    _ => &mut specs.group(suffix).marks,
                };
                marks.add(key, name, value)?;
            }
        }
        for (key, value) in image.into_iter().flatten() {
            if let Some(name) = key.strip_prefix("trait:") {
                specs.marks.add(key, name, value)?;
            }
        }
        specs.policy(flavor.get("group_policy").map(String::as_str))?;
        Ok(specs)
    }

    fn group(&mut self, suffix: &str) -> &mut Group {
        self.groups.entry(suffix.to_owned()).or_default()
    }

    fn policy(&mut self, policy: Option<&str>) -> Result<()> {
        let refused = |message: String| Error::bad_request("flavor.group_policy", message);
        if let Some((suffix, _)) = self.groups.iter().find(|(_, group)| group.amounts.is_empty()) {
            let suffix: String = suffix.chars().take(64).collect();
            return Err(refused(format!(
                "The flavor has traits for group {suffix} but no resources{suffix}:CLASS=N: name what they belong to."
            )));
        }
        if self.groups.len() > MOST_GROUPS {
            let message = format!("A flavor may ask for at most {MOST_GROUPS} groups of resources.");
            return Err(refused(message));
        }
        match policy {
            Some("isolate") => self.isolate = true,
            Some("none") => {}
            None if self.groups.len() < 2 => {}
            _ => {
                return Err(refused(
                    "A flavor with more than one group of resources needs the extra spec group_policy: 'isolate' \
                     for a provider of its own to each, 'none' when they may share one."
                        .into(),
                ));
            }
        }
        Ok(())
    }
}

impl Marks {
    fn add(&mut self, key: &str, name: &str, value: &str) -> Result<()> {
        match value {
            "required" => self.required.push(name.to_owned()),
            "forbidden" => self.forbidden.push(name.to_owned()),
            _ => {
                return Err(Error::bad_request(
                    "flavor.trait",
                    format!(
                        "Unknown value '{}' for {}: it is 'required' or 'forbidden'.",
                        short(value),
                        short(key)
                    ),
                ));
            }
        }
        Ok(())
    }
}

/// `resources1:VCPU` is the suffix `1` and the name `VCPU`.
fn split<'a>(key: &'a str, word: &str) -> Option<(&'a str, &'a str)> {
    let (suffix, name) = key.strip_prefix(word)?.split_once(':')?;
    let fits = suffix.len() <= 64
        && suffix.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    fits.then_some((suffix, name))
}

fn amount(key: &str, value: &str) -> Result<i64> {
    value.parse().ok().filter(|n| (0..=MAX_AMOUNT).contains(n)).ok_or_else(|| {
        Error::bad_request(
            "flavor.resources",
            format!(
                "The flavor's extra spec {} is '{}': a whole number from 0 to {MAX_AMOUNT} is wanted.",
                short(key),
                short(value)
            ),
        )
    })
}

fn short(text: &str) -> String {
    text.chars().take(128).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(pairs: &[(&str, &str)]) -> Texts {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn amounts_traits_and_groups_are_read_and_the_rest_is_passed_over() {
        let flavor = texts(&[
            ("resources:VCPU", "0"),
            ("resources:CUSTOM_GPU", "1"),
            ("trait:CUSTOM_FAST", "required"),
            ("resources1:VGPU", "2"),
            ("trait1:CUSTOM_BIG", "required"),
            ("resources_NET:NET_BW_EGR_KILOBIT_PER_SEC", "7"),
            ("resources2:VCPU", "0"),
            ("group_policy", "isolate"),
            ("hw:cpu_policy", "dedicated"),
            ("resourceful:X", "many"),
        ]);
        let image =
            texts(&[("trait:CUSTOM_OLD", "forbidden"), ("trait1:X", "perhaps"), ("os_type", "linux")]);
        let specs = Specs::of(&flavor, Some(&image)).unwrap();
        assert_eq!((specs.amounts["VCPU"], specs.amounts["CUSTOM_GPU"]), (0, 1));
        assert_eq!(specs.marks.required, ["CUSTOM_FAST"]);
        assert_eq!(specs.marks.forbidden, ["CUSTOM_OLD"]);
        assert_eq!(specs.groups.keys().collect::<Vec<_>>(), ["1", "_NET"]);
        assert_eq!(specs.groups["1"].amounts["VGPU"], 2);
        assert_eq!(specs.groups["1"].marks.required, ["CUSTOM_BIG"]);
        assert!(specs.isolate);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_key_in_the_message() {
        for (key, value) in [
            ("resources:VCPU", "-1"),
            ("resources1:X", "many"),
            ("resources:X", "2147483648"),
            ("resources:X", "99999999999999999999"),
            ("trait:X", "maybe"),
            ("trait1:X", "required"),
            ("trait1:X", ""),
        ] {
            let error = Specs::of(&texts(&[(key, value)]), None).unwrap_err();
            assert!(error.message.contains(key) || error.code == "flavor.group_policy", "{error:?}");
        }
        let two = [("resources1:X", "1"), ("resources2:X", "1")];
        assert_eq!(Specs::of(&texts(&two), None).unwrap_err().code, "flavor.group_policy");
        let many: Texts = (0..=MOST_GROUPS).map(|n| (format!("resources{n}:X"), "1".to_owned())).collect();
        let more = many.into_iter().chain([("group_policy".to_owned(), "none".to_owned())]).collect();
        assert_eq!(Specs::of(&more, None).unwrap_err().code, "flavor.group_policy");
    }
}
