//! E-mail addresses in header fields. Must not know what they are for.

/// The address in a field, in lower case: what stands in angle brackets, else the first word with an `@`. Empty for
/// the null path `<>`.
#[must_use]
pub(super) fn address_in(field: &str) -> Option<String> {
    if let (Some(open), Some(close)) = (field.rfind('<'), field.rfind('>'))
        && open < close
    {
        return Some(field[open + 1..close].trim().to_lowercase());
    }
    all_in(field).next()
}

/// Every address in a field.
pub(super) fn all_in(field: &str) -> impl Iterator<Item = String> {
    let apart = |c: char| c.is_whitespace() || matches!(c, ',' | ';' | '<' | '>' | '(' | ')' | '"' | '\'');
    field.split(apart).filter(|word| is_address(word)).map(str::to_lowercase)
}

/// What stands before the `@`.
#[must_use]
pub(super) fn local_part(address: &str) -> &str {
    address.rsplit_once('@').map_or(address, |(local, _)| local)
}

fn is_address(word: &str) -> bool {
    word.rsplit_once('@').is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_with_and_without_brackets() {
        assert_eq!(address_in("Elon <Elon@Example.com>").as_deref(), Some("elon@example.com"));
        assert_eq!(address_in("\"a@b\" <x@y.example>").as_deref(), Some("x@y.example"));
        assert_eq!(address_in("owner@bugs.example (Bugs)").as_deref(), Some("owner@bugs.example"));
        assert_eq!(address_in("<>").as_deref(), Some(""));
        assert_eq!(address_in("MAILER-DAEMON"), None);
    }
}
