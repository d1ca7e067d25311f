//! `canopy:quota@1`: what limits mean.

use serde::de::DeserializeOwned;

#[doc(hidden)]
#[allow(clippy::all, clippy::pedantic, missing_docs)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../wit/quota/v1",
        world: "rule",
        pub_export_macro: true,
        default_bindings_module: "canopy_sdk::quota::bindings",
        additional_derives: [PartialEq],
    });
}

pub use bindings::exports::canopy::quota::limits::{Charge, Denial, Subject, Usage, Verdict};

/// One request, with what the project may use and does use.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// Who asks.
    pub subject: Subject,
    /// Limits and usage, column by column.
    pub usage: Usage,
    /// What the request would add; charges of one resource add up.
    pub charges: Vec<Charge>,
    /// `flavor`, `image`, `network`, `zone`, …; names may repeat.
    pub attributes: Vec<(String, String)>,
}

/// Limit and usage of one resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// −1 means no limit.
    pub limit: i64,
    /// Without the request that is asked about.
    pub used: i64,
}

impl Question {
    /// The row of a resource, if the project has one.
    pub fn row(&self, resource: &str) -> Option<Row> {
        let at = self.usage.resources.iter().position(|name| name == resource)?;
        Some(Row { limit: *self.usage.limits.get(at)?, used: *self.usage.used.get(at)? })
    }

    /// What is asked of each resource in total, in the order of first mention; `None` where the sum leaves
    /// the range of an `i64`.
    pub fn asked(&self) -> Vec<(&str, Option<i64>)> {
        let mut totals: Vec<(&str, Option<i64>)> = Vec::with_capacity(self.charges.len());
        for charge in &self.charges {
            match totals.iter_mut().find(|(name, _)| *name == charge.resource) {
                Some((_, total)) => *total = total.and_then(|t| t.checked_add(charge.amount)),
                None => totals.push((&charge.resource, Some(charge.amount))),
            }
        }
        totals
    }

    /// The first value of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// A pure quota rule.
///
/// ```
/// use canopy_sdk::quota::{Denial, Question, Rule, Verdict};
///
/// /// Keeps one flavor for one project.
/// #[derive(canopy_sdk::serde::Deserialize)]
/// #[serde(crate = "canopy_sdk::serde")]
/// struct Reserved { flavor: String, project: String }
///
/// impl Rule for Reserved {
///     type Config = Self;
///
///     fn init(config: Self) -> Result<Self, String> {
///         Ok(config)
///     }
///
///     fn check(&self, question: &Question) -> Verdict {
///         if question.attribute("flavor") == Some(&self.flavor) && question.subject.project != self.project {
///             let reason = format!("flavor {} is reserved", self.flavor);
///             return Verdict::Deny(Denial { resource: "instances".into(), reason });
///         }
///         Verdict::Allow
///     }
/// }
/// canopy_sdk::export_rule!(Reserved);
/// ```
pub trait Rule: Sized + 'static {
    /// Read from the operator's JSON; use `#[serde(deny_unknown_fields)]`.
    type Config: DeserializeOwned;

    /// Called once before anything else. The error is for the operator.
    fn init(config: Self::Config) -> Result<Self, String>;

    /// The verdict on one request; the reason of a denial is shown to the client as it is.
    fn check(&self, question: &Question) -> Verdict;
}

/// Makes a [`Rule`] the rule that this component exports. Once per crate; nothing outside wasm32.
#[macro_export]
macro_rules! export_rule {
    ($plugin:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use ::std::cell::OnceCell;
            use $crate::quota::{Charge, Question, Rule, Subject, Usage, Verdict, bindings};

            ::std::thread_local! {
                static PLUGIN: OnceCell<$plugin> = const { OnceCell::new() };
            }

            fn ask<T>(question: impl FnOnce(&$plugin) -> T) -> T {
                PLUGIN.with(|cell| question(cell.get().expect($crate::__private::NOT_READY)))
            }

            struct Component;

            impl bindings::exports::canopy::quota::limits::Guest for Component {
                fn init(config: String) -> Result<(), String> {
                    let plugin = <$plugin as Rule>::init($crate::parse_config(&config)?)?;
                    PLUGIN.with(|cell| cell.set(plugin)).map_err(|_| $crate::__private::TWICE.to_owned())
                }

                fn check(
                    subject: Subject,
                    usage: Usage,
                    charges: Vec<Charge>,
                    attributes: Vec<(String, String)>,
                ) -> Verdict {
                    let question = Question { subject, usage, charges, attributes };
                    ask(|plugin| plugin.check(&question))
                }
            }

    bindings::export!(Component with_types_in bindings);
        };
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_of_one_resource_add_up_and_overflow_is_seen() {
        let charge = |resource: &str, amount| Charge { resource: resource.into(), amount };
        let question = Question {
            subject: Subject { project: "p".into(), user: "u".into() },
            usage: Usage { resources: vec!["cores".into()], limits: vec![5], used: vec![1] },
            charges: vec![charge("cores", 1), charge("ram", i64::MAX), charge("cores", 2), charge("ram", 1)],
            attributes: vec![("zone".into(), "a".into())],
        };
        assert_eq!(question.asked(), [("cores", Some(3)), ("ram", None)]);
        assert_eq!(question.row("cores"), Some(Row { limit: 5, used: 1 }));
        assert_eq!((question.row("ram"), question.attribute("zone")), (None, Some("a")));
    }
}
