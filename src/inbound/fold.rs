//! Text as phrases are looked for in it: lower case, without accents, with one shape of quote and one space. Must
//! not know any phrase.

/// Folds a text. A blank line becomes one line break, any other white space a space, and between two letters of a
/// script that does not use spaces, nothing.
#[must_use]
pub(super) fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    let (mut space, mut breaks) = (false, 0);
    for c in text.chars() {
        if c.is_whitespace() {
            space = true;
            breaks += u32::from(c == '\n' || c == '\u{2029}');
            continue;
        }
        if space {
            separate(&mut folded, breaks, c);
            (space, breaks) = (false, 0);
        }
        push(&mut folded, c);
    }
    folded
}

fn separate(folded: &mut String, breaks: u32, next: char) {
    let Some(last) = folded.chars().next_back() else { return };
    match breaks {
        0 | 1 if is_spaceless(last) && is_spaceless(next) => {}
        0 | 1 => folded.push(' '),
        _ => folded.push('\n'),
    }
}

/// Chinese, Japanese, Thai: no spaces between words.
#[must_use]
pub(super) fn is_spaceless(c: char) -> bool {
    matches!(c, '\u{0e00}'..='\u{0eff}' | '\u{3000}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{ff00}'..='\u{ff60}')
}

fn push(folded: &mut String, c: char) {
    if c.is_ascii() {
        folded.push(c.to_ascii_lowercase());
        return;
    }
    for lower in c.to_lowercase() {
        match plain(lower) {
            Plain::Letter(letter) => folded.push(letter),
            Plain::Text(text) => folded.push_str(text),
            Plain::Nothing => {}
        }
    }
}

enum Plain {
    Letter(char),
    Text(&'static str),
    Nothing,
}

fn plain(c: char) -> Plain {
    let letter = match c {
        '\u{300}'..='\u{36f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{2069}'
        // Soft hyphen, byte order mark, points of Hebrew, marks and the lengthener of Arabic.
        | '\u{ad}' | '\u{feff}' | '\u{591}'..='\u{5c7}' | '\u{640}' | '\u{64b}'..='\u{65f}' => {
            return Plain::Nothing;
        }
        'ß' => return Plain::Text("ss"),
        'æ' => return Plain::Text("ae"),
        'œ' => return Plain::Text("oe"),
        'à'..='å' | 'ā' | 'ă' | 'ą' | 'ǎ' | 'ạ'..='ặ' => 'a',
        'ç' | 'ć' | 'ĉ' | 'ċ' | 'č' => 'c',
        'ď' | 'đ' | 'ð' => 'd',
        'è'..='ë' | 'ē' | 'ĕ' | 'ė' | 'ę' | 'ě' | 'ẹ'..='ệ' => 'e',
        'ĝ' | 'ğ' | 'ġ' | 'ģ' => 'g',
        'ì'..='ï' | 'ĩ' | 'ī' | 'ĭ' | 'į' | 'ı' | 'ỉ' | 'ị' => 'i',
        'ķ' => 'k',
        'ĺ' | 'ļ' | 'ľ' | 'ŀ' | 'ł' => 'l',
        'ñ' | 'ń' | 'ņ' | 'ň' => 'n',
        'ò'..='ö' | 'ø' | 'ō' | 'ŏ' | 'ő' | 'ơ' | 'ọ'..='ợ' => 'o',
        'ŕ' | 'ŗ' | 'ř' => 'r',
        'ś' | 'ŝ' | 'ş' | 'š' | 'ș' => 's',
        'ţ' | 'ť' | 'ț' => 't',
        'ù'..='ü' | 'ũ' | 'ū' | 'ŭ' | 'ů' | 'ű' | 'ų' | 'ư' | 'ụ'..='ự' => 'u',
        'ý' | 'ÿ' | 'ỳ'..='ỹ' => 'y',
        'ź' | 'ż' | 'ž' => 'z',
        'ά' => 'α',
        'έ' => 'ε',
        'ή' => 'η',
        'ί' | 'ϊ' | 'ΐ' => 'ι',
        'ό' => 'ο',
        'ύ' | 'ϋ' | 'ΰ' => 'υ',
        'ώ' => 'ω',
        'ς' => 'σ',
        'ё' => 'е',
        'й' => 'и',
        'أ' | 'إ' | 'آ' | 'ٱ' => 'ا',
        'ى' | 'ی' => 'ي',
        'ة' => 'ه',
        'ک' => 'ك',
        '‘' | '’' | '‚' | '`' | '´' | 'ʼ' => '\'',
        '“' | '”' | '„' | '«' | '»' | '״' => '"',
        '‐'..='―' | '−' => '-',
        '…' | '。' => '.',
        '：' => ':',
        '？' => '?',
        '！' => '!',
        '，' | '、' => ',',
        other => other,
    };
    Plain::Letter(letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_accents_and_spaces_do_not_count() {
        assert_eq!(
            fold("  Réponse\u{a0}AUTOMATIQUE :\r\n « Über » "),
            "reponse automatique : \"uber \"".replace("uber \"", " uber \"")
        );
        assert_eq!(fold("İZİNDEYİM Iğdır"), "izindeyim igdir");
        assert_eq!(fold("Nghỉ phép, Ẩm"), "nghi phep, am");
        assert_eq!(fold("Αυτόματη ΑΠΆΝΤΗΣΗ"), "αυτοματη απαντηση");
    }

    #[test]
    fn letters_and_their_accents_written_apart_are_the_same() {
        assert_eq!(fold("re\u{301}ponse"), fold("réponse"));
        assert_eq!(fold("и\u{306}"), fold("й"));
    }

    #[test]
    fn a_line_that_was_broken_is_whole_again() {
        assert_eq!(fold("out of\nthe office\n\nBye"), "out of the office\nbye");
        assert_eq!(fold("不在に\nしております"), "不在にしております");
    }
}
