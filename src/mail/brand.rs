//! How a project looks in its e-mails and on its pages: name, colours that can be read, logo, footer.
//!
//! Must not know what is written in an e-mail or on a page.

use super::wording;

/// The accent of a project that gives none, or one that is no `#rgb` or `#rrggbb`.
pub const DEFAULT_COLOR: &str = "#0b57d0";

/// Black itself: anything lighter, and there are colours on which neither it nor white can be read.
const INK: &str = "#000000";
const PAPER: &str = "#ffffff";
const DARK_CARD: &str = "#1e2126";

/// Contrasts of WCAG 2.2 at level AA: of text, and of the edge of a control.
const TEXT_CONTRAST: f64 = 4.5;
const EDGE_CONTRAST: f64 = 3.0;

const LONGEST_FOOTER: usize = 300;

/// A project's brand as it is stored.
#[derive(Debug, Clone, Copy, Default)]
pub struct Brand<'a> {
    pub name: &'a str,
    pub color: &'a str,
    pub logo_url: Option<&'a str>,
    pub footer: Option<&'a str>,
}

/// A brand made fit to be shown: names on one line, colours valid, every pair of them legible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look<'a> {
    pub name: String,
    /// `#rrggbb`
    pub color: String,
    /// Text on `color`.
    pub on_color: String,
    /// The edge of a control filled with `color`, on a light and on a dark ground.
    pub light_border: String,
    pub dark_border: String,
    /// https only, since a page or mail that loads it in the clear tells who reads it.
    pub logo_url: Option<&'a str>,
    pub footer: Option<String>,
}

impl<'a> Look<'a> {
    #[must_use]
    pub fn of(brand: &Brand<'a>) -> Self {
        let color = Rgb::parse(brand.color).or_else(|| Rgb::parse(DEFAULT_COLOR)).unwrap_or(Rgb(0, 0, 0));
        let on_color = color.text_on_it();
        let edge = |ground: &str| match Rgb::parse(ground) {
            Some(ground) if color.contrast(ground) < EDGE_CONTRAST => on_color.to_owned(),
            _ => color.hex(),
        };
        Self {
            name: wording::one_line(brand.name, wording::LONGEST_NAME)
                .unwrap_or_else(|| "Signalpost".to_owned()),
            color: color.hex(),
            on_color: on_color.to_owned(),
            light_border: edge(PAPER),
            dark_border: edge(DARK_CARD),
            logo_url: brand.logo_url.filter(|url| is_https(url)),
            footer: brand.footer.and_then(|footer| wording::one_line(footer, LONGEST_FOOTER)),
        }
    }
}

fn is_https(url: &str) -> bool {
    url.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"))
        && !url.contains(|c: char| c.is_whitespace() || c.is_control())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rgb(u8, u8, u8);

impl Rgb {
    fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('#')?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let channel = |from: usize, len: usize| u8::from_str_radix(digits.get(from..from + len)?, 16).ok();
        match digits.len() {
            3 => Some(Self(channel(0, 1)? * 17, channel(1, 1)? * 17, channel(2, 1)? * 17)),
            6 => Some(Self(channel(0, 2)?, channel(2, 2)?, channel(4, 2)?)),
            _ => None,
        }
    }

    fn hex(self) -> String {
        format!("#{:02x}{:02x}{:02x}", self.0, self.1, self.2)
    }

    /// White where it can be read, for most brands expect it; else whichever of the two reads better.
    fn text_on_it(self) -> &'static str {
        let white = self.contrast(Self(255, 255, 255));
        let ink = Self::parse(INK).map_or(0.0, |ink| self.contrast(ink));
        if white >= TEXT_CONTRAST || white >= ink { PAPER } else { INK }
    }

    fn contrast(self, other: Self) -> f64 {
        let (a, b) = (self.luminance(), other.luminance());
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    fn luminance(self) -> f64 {
        let linear = |channel: u8| {
            let c = f64::from(channel) / 255.0;
            if c <= 0.040_45 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * linear(self.0) + 0.7152 * linear(self.1) + 0.0722 * linear(self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn look(color: &str) -> Look<'_> {
        Look::of(&Brand { name: "Acme", color, ..Brand::default() })
    }

    #[test]
    fn a_short_colour_is_written_in_full() {
        assert_eq!(look("#0AF").color, "#00aaff");
        assert_eq!(look("#0B5fff").color, "#0b5fff");
    }

    #[test]
    fn what_is_no_colour_becomes_the_default() {
        for color in
            ["", "red", "#12", "#12345", "#1234567", "#ggg", "#+1+2+3", "#fff;}", "#ff\u{e9}", "0b5fff"]
        {
            assert_eq!(look(color).color, DEFAULT_COLOR, "{color:?}");
        }
    }

    #[test]
    fn a_light_colour_gets_dark_text_and_an_edge() {
        let yellow = look("#ffee00");
        assert_eq!((yellow.on_color.as_str(), yellow.light_border.as_str()), (INK, INK));
        assert_eq!(yellow.dark_border, "#ffee00");
        assert_eq!(look("#111111").dark_border, PAPER);
    }

    #[test]
    fn a_logo_is_taken_over_https_only() {
        let of = |url| Look::of(&Brand { name: "Acme", logo_url: Some(url), ..Brand::default() }).logo_url;
        assert!(of("https://app.acme.example/logo.png").is_some());
        for url in
            ["http://acme.example/l.png", "javascript:alert(1)", "data:image/png;base64,", "https://a b", "é"]
        {
            assert_eq!(of(url), None, "{url}");
        }
    }

    proptest! {
        #[test]
        fn text_on_any_colour_can_be_read(r: u8, g: u8, b: u8) {
            let color = Rgb(r, g, b);
            let text = Rgb::parse(color.text_on_it()).unwrap();
            prop_assert!(color.contrast(text) >= TEXT_CONTRAST, "{} on {}", text.hex(), color.hex());
        }
    }
}
