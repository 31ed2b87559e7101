//! The body of a stored e-mail read into tags and texts; here Markdown, `html` reads the other kind. Values stand in it as runs of letters
//! between two marks, which neither grammar takes for anything but a part of a word, so no value can become
//! markup. Must not know what the values are, or how a mail looks.

use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag, TagEnd};

use crate::domain::names::MARKS;

/// A part of a body, with the octet where it starts.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Part {
    Open { name: String, attributes: Vec<(String, String)>, at: usize },
    Close { name: String },
    Text { text: String, at: usize },
}

/// What is wrong with a body, and at which octet.
pub(super) type Fault = (usize, String);

/// Reads Markdown.
pub(super) fn markdown(body: &str) -> Result<Vec<Part>, Fault> {
    match forged(body) {
        Some(at) => Err((at, "has a reference to one of the characters U+E000 to U+E003".to_owned())),
        None => Ok(parts(body)),
    }
}

/// Where a mark is written as a character reference, which the reader would turn into one.
fn forged(body: &str) -> Option<usize> {
    let is_mark = |at: &usize| {
        let number = &body[at + 2..];
        let (digits, radix) = match number.strip_prefix(['x', 'X']) {
            Some(digits) => (digits, 16),
            None => (number, 10),
        };
        let end = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
        let code = u32::from_str_radix(&digits[..end], radix).ok();
        code.and_then(char::from_u32).is_some_and(|c| MARKS.contains(&c))
    };
    body.match_indices("&#").map(|(at, _)| at).find(is_mark)
}

fn parts(body: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    // The text of an image, while one is being read.
    let mut alt: Option<String> = None;
    for (event, range) in Parser::new(body).into_offset_iter() {
        let at = range.start;
        let open = |name: &str| Part::Open { name: name.to_owned(), attributes: Vec::new(), at };
        let text = |text: &str| Part::Text { text: text.to_owned(), at };
        match event {
            Event::Start(Tag::Image { dest_url, .. }) => {
                let attributes = vec![("src".to_owned(), dest_url.to_string())];
                parts.push(Part::Open { name: "img".to_owned(), attributes, at });
                alt = Some(String::new());
            }
            Event::End(TagEnd::Image) => {
                if let (Some(alt), Some(Part::Open { attributes, .. })) = (alt.take(), parts.last_mut()) {
                    attributes.push(("alt".to_owned(), alt));
                }
            }
            Event::Text(said) | Event::Code(said) if alt.is_some() => {
                alt.get_or_insert_default().push_str(&said);
            }
            _ if alt.is_some() => {}
            Event::Start(tag) => parts.extend(opened(&tag, at)),
            Event::End(end) => parts.extend(closed(end).map(|name| Part::Close { name })),
            Event::Text(said) | Event::Html(said) | Event::InlineHtml(said) => parts.push(text(&said)),
            Event::Code(said) => {
                parts.extend([open("code"), text(&said), Part::Close { name: "code".to_owned() }]);
            }
            Event::SoftBreak => parts.push(text("\n")),
            Event::HardBreak => parts.push(open("br")),
            Event::Rule => parts.push(open("hr")),
            _ => {}
        }
    }
    joined(parts)
}

/// Texts that follow each other are one: a word may have come in pieces.
fn joined(parts: Vec<Part>) -> Vec<Part> {
    let mut all: Vec<Part> = Vec::with_capacity(parts.len());
    for part in parts {
        match (all.last_mut(), &part) {
            (Some(Part::Text { text, .. }), Part::Text { text: more, .. }) => text.push_str(more),
            _ => all.push(part),
        }
    }
    all
}

fn opened(tag: &Tag<'_>, at: usize) -> Option<Part> {
    let mut attributes = Vec::new();
    let name = match tag {
        Tag::Paragraph | Tag::HtmlBlock => "p".to_owned(),
        Tag::Heading { level, .. } => level.to_string(),
        Tag::BlockQuote(_) => "blockquote".to_owned(),
        Tag::CodeBlock(CodeBlockKind::Indented | CodeBlockKind::Fenced(_)) => "pre".to_owned(),
        Tag::List(Some(_)) => "ol".to_owned(),
        Tag::List(None) => "ul".to_owned(),
        Tag::Item => "li".to_owned(),
        Tag::Emphasis => "em".to_owned(),
        Tag::Strong => "strong".to_owned(),
        Tag::Link { dest_url, .. } => {
            attributes.push(("href".to_owned(), dest_url.to_string()));
            "a".to_owned()
        }
        _ => return None,
    };
    Some(Part::Open { name, attributes, at })
}

fn closed(end: TagEnd) -> Option<String> {
    let name = match end {
        TagEnd::Paragraph | TagEnd::HtmlBlock => "p",
        TagEnd::Heading(level) => return Some(level.to_string()),
        TagEnd::BlockQuote(_) => "blockquote",
        TagEnd::CodeBlock => "pre",
        TagEnd::List(true) => "ol",
        TagEnd::List(false) => "ul",
        TagEnd::Item => "li",
        TagEnd::Emphasis => "em",
        TagEnd::Strong => "strong",
        TagEnd::Link => "a",
        _ => return None,
    };
    Some(name.to_owned())
}
