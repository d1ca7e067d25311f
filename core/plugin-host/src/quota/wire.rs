//! A question as the guest sees it, and its answer as we may use it.

use super::{Book, Claim, HolderKind, MAX_CLAIMS, MOST, MOST_ROWS, QuotaQuestion, REASON, Verdict};
use crate::bindings::quota as wire;

/// What the contract promises the guest.
pub(super) fn bounded(question: &QuotaQuestion) -> Result<(), String> {
    let book = &question.book;
    let charges: usize = question.claims.iter().map(|claim| claim.charges.len()).sum();
    let attributes: usize = question.claims.iter().map(|claim| claim.attributes.len()).sum();
    for (what, count, most) in [
        ("claims", question.claims.len(), MAX_CLAIMS),
        ("resources", book.resources.len(), MOST),
        ("holders", book.holders.len(), MOST),
        ("rows", book.rows.len(), MOST_ROWS),
        ("charges", charges, MOST_ROWS),
        ("attributes", attributes, MOST_ROWS),
    ] {
        if count > most {
            return Err(format!("a question of {count} {what}; at most {most} are allowed"));
        }
    }
    let within = |index: u32, len: usize| usize::try_from(index).is_ok_and(|index| index < len);
    let (resources, holders) = (book.resources.len(), book.holders.len());
    let rows = book.rows.iter().all(|row| within(row.resource, resources) && within(row.holder, holders));
    let known = question.claims.iter().flat_map(|claim| &claim.charges);
    if !rows || !known.into_iter().all(|charge| within(charge.resource, resources)) {
        return Err("a question about a resource or holder that its book does not have".to_owned());
    }
    Ok(())
}

pub(super) fn book(book: &Book) -> wire::Book {
    let kind = |kind| match kind {
        HolderKind::Project => wire::HolderKind::Project,
        HolderKind::Ancestor => wire::HolderKind::Ancestor,
        HolderKind::User => wire::HolderKind::User,
    };
    wire::Book {
        resources: book
            .resources
            .iter()
            .map(|resource| wire::Countable { name: resource.name.clone(), per_claim: resource.per_claim })
            .collect(),
        holders: book
            .holders
            .iter()
            .map(|holder| wire::Holder {
                kind: kind(holder.kind),
                id: holder.id.clone(),
                zone: holder.zone.clone(),
            })
            .collect(),
        row_holders: book.rows.iter().map(|row| row.holder).collect(),
        row_resources: book.rows.iter().map(|row| row.resource).collect(),
        limits: book.rows.iter().map(|row| row.limit).collect(),
        used: book.rows.iter().map(|row| row.used).collect(),
    }
}

pub(super) fn claims(claims: &[Claim]) -> wire::Claims {
    let mut columns = wire::Claims {
        users: claims.iter().map(|claim| claim.user_id.to_string()).collect(),
        zones: claims.iter().map(|claim| claim.zone.clone()).collect(),
        charge_claims: Vec::new(),
        charge_resources: Vec::new(),
        charge_amounts: Vec::new(),
        attribute_claims: Vec::new(),
        attribute_names: Vec::new(),
        attribute_values: Vec::new(),
    };
    for (at, claim) in (0..).zip(claims) {
        for charge in &claim.charges {
            columns.charge_claims.push(at);
            columns.charge_resources.push(charge.resource);
            columns.charge_amounts.push(charge.amount);
        }
        for (name, value) in &claim.attributes {
            columns.attribute_claims.push(at);
            columns.attribute_names.push(name.clone());
            columns.attribute_values.push(value.clone());
        }
    }
    columns
}

/// The guest's verdicts as ours, if clients may see them.
pub(super) fn accept(verdicts: Vec<wire::Verdict>, question: &QuotaQuestion) -> Result<Vec<Verdict>, String> {
    if verdicts.len() != question.claims.len() {
        return Err(format!("{} verdicts on {} claims", verdicts.len(), question.claims.len()));
    }
    verdicts.into_iter().zip(&question.claims).map(|(verdict, claim)| one(verdict, claim, question)).collect()
}

fn one(verdict: wire::Verdict, claim: &Claim, question: &QuotaQuestion) -> Result<Verdict, String> {
    let denial = match verdict {
        wire::Verdict::Allow => return Ok(Verdict::Allow),
        wire::Verdict::Deny(denial) => denial,
    };
    let name =
        |index: u32| question.book.resources.get(usize::try_from(index).ok()?).map(|r| r.name.as_str());
    if !claim.charges.iter().any(|charge| name(charge.resource) == Some(denial.resource.as_str())) {
        return Err(format!("it denies {:?}, which was not asked for", denial.resource));
    }
    if denial.reason.is_empty()
        || denial.reason.len() > REASON
        || denial.reason.chars().any(crate::fault::odd)
    {
        return Err(format!("the reason of a denial has {} bytes or is no plain text", denial.reason.len()));
    }
    Ok(Verdict::Deny { resource: denial.resource, reason: denial.reason })
}

#[cfg(test)]
mod tests {
    use super::super::{Charge, Countable, Row};
    use super::*;
    use canopy_types::UserId;

    fn question() -> QuotaQuestion {
        let resources = [("cores", false), ("ram", false)]
            .map(|(name, per_claim)| Countable { name: name.into(), per_claim })
            .into();
        let charges = vec![Charge { resource: 0, amount: 1 }];
        let claim = Claim { user_id: UserId::random(), zone: String::new(), charges, attributes: Vec::new() };
        QuotaQuestion { book: Book { resources, ..Book::default() }, claims: vec![claim] }
    }

    #[test]
    fn a_denial_names_what_was_asked_in_plain_and_bounded_words() {
        let question = question();
        let deny = |resource: &str, reason: &str| {
            let denial = wire::Denial { resource: resource.into(), reason: reason.into() };
            accept(vec![wire::Verdict::Deny(denial)], &question)
        };
        assert!(deny("cores", "no").is_ok());
        for (resource, reason) in
            [("ram", "no"), ("cores", ""), ("cores", "a\r\nb"), ("cores", &"x".repeat(1025))]
        {
            assert!(deny(resource, reason).is_err());
        }
    }

    #[test]
    fn there_are_as_many_verdicts_as_claims() {
        assert!(accept(vec![], &question()).is_err());
        assert!(accept(vec![wire::Verdict::Allow; 2], &question()).is_err());
        assert_eq!(accept(vec![wire::Verdict::Allow], &question()), Ok(vec![Verdict::Allow]));
    }

    #[test]
    fn what_the_contract_does_not_allow_is_not_asked() {
        assert!(bounded(&question()).is_ok());
        let mut stray = question();
        stray.book.rows.push(Row { holder: 0, resource: 0, limit: 1, used: 0 });
        assert!(bounded(&stray).unwrap_err().contains("does not have"));
        let mut many = question();
        many.claims = vec![many.claims[0].clone(); MAX_CLAIMS + 1];
        assert!(bounded(&many).unwrap_err().contains("65 claims"));
    }
}
