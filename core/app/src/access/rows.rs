//! Lists of what the caller may read: what a policy hides on its own is hidden in a list too.

use super::allowed;
use crate::{App, Ctx};
use canopy_authz::{Action, Target};
use canopy_store::listing::Listing;
use canopy_types::{Page, Result};
use std::collections::HashMap;

/// Rows read at once to fill a page from which the policies hid some.
const CHUNK: u32 = 500;
/// A list whose place is deleted while it is read is read anew, so often.
const TRIES: u32 = 5;

/// Decides about the rows of one list: once for all that are alike in what policies look at, so that rows cost
/// no decision each.
#[derive(Default)]
pub struct Rows {
    decided: HashMap<Target, bool>,
    /// Of the row before: most rows are like it.
    last: Option<(Target, bool)>,
}

impl Rows {
    /// Always asked with the same action and caller.
    pub fn allowed(&mut self, app: &App, ctx: &Ctx, action: Action, target: &Target) -> bool {
        if let Some((last, may)) = &self.last
            && ctx.policies.alike(action, last, target)
        {
            return *may;
        }
        let alike = ctx.policies.visible(action, target);
        let may = *self.decided.entry(alike).or_insert_with(|| allowed(app, ctx, action, target));
        self.last = Some((target.clone(), may));
        may
    }
}

/// A part of an ordered list.
pub trait Span: Clone {
    /// Rows at most.
    fn size(&self) -> usize;
    /// Id of the row that it begins after.
    fn marker(&self) -> Option<&str>;
    /// Whether it is what comes before the marker; its rows come in the list's order all the same.
    fn reverse(&self) -> bool;
    /// At most `limit` rows of the same list on from a row.
    #[must_use]
    fn on_from(&self, marker: String, limit: u32) -> Self;
}

impl Span for Page {
    fn size(&self) -> usize {
        usize::try_from(Page::size(self)).unwrap_or(0)
    }

    fn marker(&self) -> Option<&str> {
        self.marker.as_deref()
    }

    fn reverse(&self) -> bool {
        false
    }

    fn on_from(&self, marker: String, limit: u32) -> Self {
        Self { limit: Some(limit), marker: Some(marker) }
    }
}

impl Span for Listing {
    fn size(&self) -> usize {
        usize::try_from(Listing::size(self)).unwrap_or(usize::MAX)
    }

    fn marker(&self) -> Option<&str> {
        self.marker.as_deref()
    }

    fn reverse(&self) -> bool {
        self.reverse
    }

    fn on_from(&self, marker: String, limit: u32) -> Self {
        Self { limit: Some(limit), marker: Some(marker), ..self.clone() }
    }
}

/// One page of the rows that the caller `may` read, in the list's order. What is hidden does not count towards
/// the page.
pub async fn readable<S, R, F>(
    span: &S,
    id: impl Fn(&R) -> String,
    read: impl Fn(S) -> F,
    mut may: impl FnMut(&R) -> bool,
) -> Result<Vec<R>>
where
    S: Span,
    F: Future<Output = Result<Vec<R>>>,
{
    let mut found: Vec<R> = Vec::new();
    let mut next = span.clone();
    let mut tries = 0;
    loop {
        let mut rows = match read(next.clone()).await {
            // The row to go on from is gone meanwhile: from the start.
            Err(error)
                if ["page.marker", "query.marker"].contains(&error.code)
                    && next.marker() != span.marker()
                    && tries < TRIES =>
            {
                tries += 1;
                found.clear();
                next = span.clone();
                continue;
            }
            rows => rows?,
        };
        if span.reverse() {
            rows.reverse();
        }
        let all = rows.len() < next.size();
        let last = rows.last().map(&id);
        found.extend(rows.into_iter().filter(&mut may));
        match last {
            Some(last) if !all && found.len() < span.size() => next = span.on_from(last, CHUNK),
            _ => break,
        }
    }
    found.truncate(span.size());
    if span.reverse() {
        found.reverse();
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use canopy_store::listing::Scope;
    use canopy_types::Error;
    use std::cell::Cell;

    /// A page of the numbers below 5,000, as the store gives it.
    fn page(listing: &Listing) -> Vec<i64> {
        let marker = listing.marker.as_ref().map(|marker| marker.parse::<i64>().unwrap());
        let size = Span::size(listing);
        if listing.reverse {
            let mut rows: Vec<i64> = (0..marker.unwrap_or(5_000)).rev().take(size).collect();
            rows.reverse();
            return rows;
        }
        (marker.map_or(0, |marker| marker + 1)..5_000).take(size).collect()
    }

    fn listing(limit: u32, marker: Option<i64>, reverse: bool) -> Listing {
        let marker = marker.map(|marker| marker.to_string());
        Listing { limit: Some(limit), marker, reverse, ..Listing::all(Scope::All) }
    }

    async fn thousands(span: Listing) -> Vec<i64> {
        let read = |part: Listing| async move { Ok(page(&part)) };
        readable(&span, i64::to_string, read, |row| row % 1_000 == 0).await.unwrap()
    }

    #[tokio::test]
    async fn a_page_is_filled_with_what_may_be_read_in_either_direction() {
        assert_eq!(thousands(listing(2, None, false)).await, [0, 1_000]);
        assert_eq!(thousands(listing(2, Some(1_000), false)).await, [2_000, 3_000]);
        assert_eq!(thousands(listing(9, Some(1_000), false)).await, [2_000, 3_000, 4_000]);
        assert_eq!(thousands(listing(2, Some(4_000), true)).await, [2_000, 3_000]);
        assert_eq!(thousands(listing(9, Some(1_000), true)).await, [0]);
        assert!(thousands(listing(9, Some(4_000), false)).await.is_empty());
    }

    #[tokio::test]
    async fn a_row_that_goes_while_the_list_is_read_is_survived_and_an_unknown_marker_is_the_callers() {
        let gone = Cell::new(1);
        let read = |part: Listing| {
            let lost = part.marker.as_deref() == Some("1") && gone.replace(0) == 1;
            async move {
                let error = Error::bad_request("query.marker", "gone");
                if lost || part.marker.as_deref() == Some("x") { Err(error) } else { Ok(page(&part)) }
            }
        };
        let all = readable(&listing(2, None, false), i64::to_string, read, |row| *row >= 2).await.unwrap();
        assert_eq!((all, gone.get()), (vec![2, 3], 0));
        let unknown = Listing { marker: Some("x".into()), ..listing(2, None, false) };
        assert!(readable(&unknown, i64::to_string, read, |_| true).await.is_err());
    }
}
