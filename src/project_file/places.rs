//! Where in a file a value stands, so that what is wrong within a long text is named by the file's own line. Must
//! not know what a value means.

use toml::de::{DeTable, DeValue};

/// The line and the column of the file, from those within the text at a place such as `automations[1].body`.
/// Escapes of a text on one line are not counted.
pub(super) fn within(file: &str, place: &str, (line, column): (usize, usize)) -> Option<(usize, usize)> {
    let table = DeTable::parse(file).ok()?;
    let mut value = &DeValue::Table(table.get_ref().clone());
    let mut start = 0;
    for step in place.split(['.', '[']).map(|step| step.trim_end_matches(']')) {
        let found = match value {
            DeValue::Table(table) => {
                table.iter().find(|(key, _)| key.get_ref() == step).map(|(_, value)| value)
            }
            DeValue::Array(array) => array.get(step.parse::<usize>().ok()?),
            _ => None,
        }?;
        start = found.span().start;
        value = found.get_ref();
    }
    let raw = file.get(start..)?;
    let quotes = if raw.starts_with("\"\"\"") || raw.starts_with("'''") { 3 } else { 1 };
    let newline = [("\r\n", 2), ("\n", 1)].into_iter().find(|(end, _)| raw[quotes..].starts_with(end));
    let first = start + quotes + newline.filter(|_| quotes == 3).map_or(0, |(_, length)| length);
    let before = file.get(..first)?;
    let (lines, last) =
        (before.matches('\n').count() + 1, before.rfind('\n').map_or(0, |newline| newline + 1));
    let columns = before[last..].chars().count();
    Some(if line == 1 { (lines, columns + column) } else { (lines + line - 1, column) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_within_a_text_is_a_place_of_the_file() {
        let file =
            "[[automations]]\nbody = 'x'\n[[automations]]\nsubject = \"ab\"\nbody = \"\"\"\none\ntwo\"\"\"\n";
        assert_eq!(within(file, "automations[0].body", (1, 1)), Some((2, 9)));
        assert_eq!(within(file, "automations[1].subject", (1, 2)), Some((4, 13)));
        assert_eq!(within(file, "automations[1].body", (2, 3)), Some((7, 3)));
        assert_eq!(within(file, "automations[1].body", (1, 1)), Some((6, 1)));
        let texts = "[[automations]]\ntexts = [{ locale = 'en', body = '''a\nb''' }]\n";
        assert_eq!(within(texts, "automations[0].texts[0].body", (2, 1)), Some((3, 1)));
        assert_eq!(within(file, "automations[9].body", (1, 1)), None);
    }
}
