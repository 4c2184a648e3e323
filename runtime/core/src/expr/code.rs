//! From a string of a manifest to the code that minijinja is given, by minijinja's own tokens.
//!
//! Step ids have dashes, which Jinja reads as minus signs: `steps.find-volume.id` becomes
//! `steps['find-volume'].id`. A string that is one `{{ … }}` is an expression, which keeps its
//! type. Both are told from tokens and never from text, because a string literal, a comment or a
//! raw block may hold anything that looks like code.

use super::is_template;
use minijinja::machinery::{Span, Token, tokenize};
use minijinja::syntax::SyntaxConfig;
use std::borrow::Cow;
use std::ops::Range;

/// How a string of a manifest is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Text with templates in it: a string of a `with`, an output, a lock.
    Template,
    /// An expression, with or without its braces: a `when`, a `for_each`.
    Expression,
}

/// What minijinja is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Code<'a> {
    /// Its value keeps its type.
    Expression(Cow<'a, str>),
    /// Its value is text.
    Template(Cow<'a, str>),
}

impl<'a> Code<'a> {
    pub(super) fn of(text: &'a str, reading: Reading) -> Self {
        let quoted = quote_ids(text, false);
        match (sole_expression(&quoted), reading) {
            (Some(inside), _) => Code::Expression(match quoted {
                Cow::Borrowed(text) => Cow::Borrowed(&text[inside]),
                Cow::Owned(text) => Cow::Owned(text[inside].to_owned()),
            }),
            (None, Reading::Expression) => Code::Expression(quote_ids(text, true)),
            (None, Reading::Template) => Code::Template(quoted),
        }
    }
}

type Lexed<'a> = Result<(Token<'a>, Span), minijinja::Error>;

/// The tokens of a template, or of an expression without its braces.
fn tokens(code: &str, in_expression: bool) -> impl Iterator<Item = Lexed<'_>> {
    tokenize(code, in_expression, SyntaxConfig::default())
}

fn bytes(span: Span) -> Range<usize> {
    span.start_offset as usize..span.end_offset as usize
}

/// Where the inside is of a string that is exactly one `{{ … }}`, with trim marks or without.
fn sole_expression(text: &str) -> Option<Range<usize>> {
    let (begin, end) = (text.len() - text.trim_start().len(), text.trim_end().len());
    if !text[begin..].starts_with("{{") {
        return None;
    }
    let mut start = 0;
    for token in tokens(&text[..end], false) {
        match token.ok()? {
            (Token::VariableStart, span) => start = bytes(span).end,
            (Token::VariableEnd, span) => {
                let span = bytes(span);
                return (span.end == end).then_some(start..span.start);
            }
            _ => {}
        }
    }
    None
}

/// The code with each `.step-id` after `steps` as a subscript.
fn quote_ids(code: &str, in_expression: bool) -> Cow<'_, str> {
    let mut code = Cow::Borrowed(code);
    // One at a time: an id like `disk-0b` is no sequence of tokens, and stops the tokenizer.
    while let Some(at) = dashed_id(&code, in_expression) {
        let id = code[at.clone()].trim_start_matches('.').trim_ascii_start();
        let subscript = format!("['{id}']");
        code.to_mut().replace_range(at, &subscript);
    }
    code
}

/// The first `.step-id` after `steps` that has a dash, from its dot to its end.
fn dashed_id(code: &str, in_expression: bool) -> Option<Range<usize>> {
    if !code.contains('-') {
        return None;
    }
    // What was read of `steps.`, and where its dot is.
    let (mut after_dot, mut is_steps, mut dot) = (false, false, None);
    for token in tokens(code, in_expression) {
        let (token, span) = token.ok()?;
        let span = bytes(span);
        match (&token, dot.take()) {
            (Token::Ident(_), Some(dot)) => {
                let end = span.start + id_length(&code[span.start..]);
                if code[span.start..end].contains('-') {
                    return Some(dot..end);
                }
            }
            (Token::Dot, _) if is_steps => dot = Some(span.start),
            _ => {}
        }
        is_steps = matches!(token, Token::Ident("steps")) && !after_dot;
        after_dot = matches!(token, Token::Dot);
    }
    None
}

/// How long the step id is that the code begins with; a dash before braces is a trim mark.
fn id_length(code: &str) -> usize {
    let is_id = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let length = code.find(|c| !is_id(c)).unwrap_or(code.len());
    let (id, rest) = code.split_at(length);
    let trims = id.ends_with('-') && (rest.starts_with("}}") || rest.starts_with("%}"));
    length - usize::from(trims)
}

/// The keywords of a text's `{% … %}` blocks.
pub(super) fn statements(text: &str) -> Vec<String> {
    let mut keywords = vec![];
    let mut begins = false;
    for token in tokens(&quote_ids(text, false), false) {
        let Ok((token, _)) = token else { break };
        if let (Token::Ident(keyword), true) = (&token, begins) {
            keywords.push((*keyword).to_owned());
        }
        begins = matches!(token, Token::BlockStart);
    }
    keywords
}

/// What to do about a text that is no template, if it looks as if it was not meant to be one.
pub(super) fn hint(text: &str, reading: Reading) -> Option<&'static str> {
    if let Some(hint) = foreign(text) {
        return Some(hint);
    }
    if text.rfind("{#").is_some_and(|at| !text[at..].contains("#}")) {
        return Some(
            "`{#` begins a comment; if it is for another program, keep it from being read here: \
             `{% raw %}${#list[@]}{% endraw %}`",
        );
    }
    (reading == Reading::Expression && is_template(text)).then_some(
        "it is one expression: write it without braces, or with one pair around all of it",
    )
}

/// What to do about braces that look as if another program should read them.
pub(crate) fn foreign(text: &str) -> Option<&'static str> {
    is_of_go(text).then_some(
        "if these braces are for another program, as in `docker ps --format`, keep them from \
         being read here: `{% raw %}{{.Names}}{% endraw %}`",
    )
}

/// Whether a text has braces as Go's templates have them: `{{.Names}}`, `{{json .}}`,
/// `{{range .Items}}`, `{{$x}}`.
fn is_of_go(text: &str) -> bool {
    const KEYWORDS: [&str; 8] =
        ["range", "end", "if", "else", "with", "define", "template", "block"];
    let mut opened = None;
    let mut end = 0;
    for token in tokens(text, false) {
        let Ok((token, span)) = token else {
            return opened.is_some_and(|at: usize| text[at..].trim_start().starts_with('$'));
        };
        let span = bytes(span);
        match token {
            Token::Ident(word) if opened.is_some() && KEYWORDS.contains(&word) => return true,
            // An attribute's dot follows its value at once.
            Token::Dot if opened.is_some() || span.start > end => return true,
            _ => {}
        }
        opened = matches!(token, Token::VariableStart).then_some(span.end);
        end = span.end;
    }
    false
}
