//! YAML as a tree whose nodes know their line, so that every error can point at it.
//!
//! Scalars stay the text they were written as: what `8080:80`, `yes` or `1e3` mean is for the field that reads them to
//! say, not for YAML 1.1's guesses.

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput};

/// A file that needs more is not one a person wrote; an alias may name a large node often, hence the count.
const MAX_NODES: usize = 100_000;
const MAX_DEPTH: usize = 64;

/// One value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) line: usize,
    pub(crate) value: Value,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    Null,
    Scalar(String),
    List(Vec<Node>),
    /// In the order of the file, without duplicates.
    Map(Vec<(Key, Node)>),
}

#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) line: usize,
    pub(crate) name: String,
}

/// What is wrong with the text, and on which line.
#[derive(Debug)]
pub(crate) struct Malformed {
    pub(crate) line: usize,
    pub(crate) message: String,
}

/// The one document of a file; an empty file is `Null`.
pub(crate) fn parse(text: &str) -> Result<Node, Malformed> {
    let mut loader = Loader { parser: Parser::new_from_str(text), anchors: Vec::new(), nodes: 0, depth: 0 };
    loader.document()
}

struct Loader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    /// What each anchor names, by the parser's number for it.
    anchors: Vec<(usize, Node)>,
    nodes: usize,
    depth: usize,
}

impl<'a> Loader<'a> {
    fn document(&mut self) -> Result<Node, Malformed> {
        let mut document = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
                Event::StreamEnd => return Ok(document.unwrap_or(Node { line: 1, value: Value::Null })),
                _ if document.is_some() => {
                    return Err(malformed(span, "a second document begins here; only one is read"));
                }
                event => document = Some(self.node(event, span)?),
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), Malformed> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                Err(Malformed { line: error.marker().line(), message: error.info().to_owned() })
            }
            None => Err(Malformed { line: 1, message: "the file ends too early".into() }),
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span) -> Result<Node, Malformed> {
        self.nodes += 1;
        self.depth += 1;
        if self.nodes > MAX_NODES || self.depth > MAX_DEPTH {
            return Err(malformed(span, "the file has too many or too deeply nested values"));
        }
        let line = span.start.line();
        let (anchor, value) = match event {
            Event::Scalar(text, style, anchor, _tag) => (anchor, scalar(&text, style)),
            Event::SequenceStart(anchor, _tag) => (anchor, Value::List(self.list()?)),
            Event::MappingStart(anchor, _tag) => (anchor, Value::Map(self.map()?)),
            Event::Alias(anchor) => {
                let named = self.anchors.iter().rev().find(|(id, _)| *id == anchor);
                let value = named.map(|(_, node)| node.value.clone());
                let value =
                    value.ok_or_else(|| malformed(span, "this alias names a value that contains it"))?;
                self.nodes += size(&value);
                (0, value)
            }
            _ => return Err(malformed(span, "a value was expected here")),
        };
        self.depth -= 1;
        let node = Node { line, value };
        // The parser counts anchors from 1; 0 means none.
        if anchor != 0 {
            self.anchors.push((anchor, node.clone()));
        }
        Ok(node)
    }

    fn list(&mut self) -> Result<Vec<Node>, Malformed> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, span) => items.push(self.node(event, span)?),
            }
        }
    }

    fn map(&mut self) -> Result<Vec<(Key, Node)>, Malformed> {
        let (mut entries, mut merged) = (Vec::<(Key, Node)>::new(), Vec::new());
        loop {
            let (event, span) = self.next()?;
            let name = match event {
                Event::MappingEnd => break,
                Event::Scalar(name, ..) => name.into_owned(),
                _ => return Err(malformed(span, "a key must be a plain word")),
            };
            let (event, value_span) = self.next()?;
            let value = self.node(event, value_span)?;
            if name == "<<" {
                merged.push((span, value));
            } else if entries.iter().any(|(key, _)| key.name == name) {
                return Err(malformed(span, format!("the key {name} is given twice")));
            } else {
                entries.push((Key { line: span.start.line(), name }, value));
            }
        }
        for (span, value) in merged {
            merge(&mut entries, value).map_err(|message| malformed(span, message))?;
        }
        Ok(entries)
    }
}

/// YAML's `<<: *anchor` (or a list of them): keys that are not given here come from there.
fn merge(entries: &mut Vec<(Key, Node)>, value: Node) -> Result<(), &'static str> {
    match value.value {
        Value::Map(more) => {
            for (key, node) in more {
                if !entries.iter().any(|(known, _)| known.name == key.name) {
                    entries.push((key, node));
                }
            }
            Ok(())
        }
        Value::List(items) => items.into_iter().try_for_each(|item| merge(entries, item)),
        Value::Null | Value::Scalar(_) => Err("<< takes a mapping, or a list of mappings"),
    }
}

fn scalar(text: &str, style: ScalarStyle) -> Value {
    match (style, text) {
        (ScalarStyle::Plain, "" | "~" | "null" | "Null" | "NULL") => Value::Null,
        _ => Value::Scalar(text.to_owned()),
    }
}

fn size(value: &Value) -> usize {
    1 + match value {
        Value::Null | Value::Scalar(_) => 0,
        Value::List(items) => items.iter().map(|item| size(&item.value)).sum(),
        Value::Map(entries) => entries.iter().map(|(_, node)| size(&node.value)).sum(),
    }
}

fn malformed(span: Span, message: impl Into<String>) -> Malformed {
    Malformed { line: span.start.line(), message: message.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(node: &Node) -> String {
        match &node.value {
            Value::Null => "null".into(),
            Value::Scalar(text) => format!("{text:?}@{}", node.line),
            Value::List(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(" ")),
            Value::Map(entries) => {
                let entries = entries.iter().map(|(key, node)| format!("{}:{}", key.name, shown(node)));
                format!("{{{}}}", entries.collect::<Vec<_>>().join(" "))
            }
        }
    }

    #[test]
    fn scalars_stay_text_and_know_their_line() {
        let node = parse("a: 8080:80\nb:\n  - yes\n  - 'null'\n  - null\nc: {d: 010}\n").unwrap();
        assert_eq!(shown(&node), r#"{a:"8080:80"@1 b:["yes"@3 "null"@4 null] c:{d:"010"@6}}"#);
    }

    #[test]
    fn an_empty_file_is_null() {
        for text in ["", "# nothing\n", "---\n"] {
            assert_eq!(shown(&parse(text).unwrap()), "null", "{text:?}");
        }
    }

    #[test]
    fn aliases_and_merges_are_followed() {
        let node = parse("x: &x {a: 1, b: 2}\ny: *x\nz:\n  <<: *x\n  b: 3\nw: {<<: [*x, {c: 4}]}\n").unwrap();
        assert_eq!(
            shown(&node),
            r#"{x:{a:"1"@1 b:"2"@1} y:{a:"1"@1 b:"2"@1} z:{b:"3"@5 a:"1"@1} w:{a:"1"@1 b:"2"@1 c:"4"@6}}"#
        );
    }

    #[test]
    fn what_is_malformed_is_refused_with_its_line() {
        let table = [
            ("a: 1\na: 2\n", 2, "twice"),
            ("a: [1\nb: 2\n", 2, ""),
            ("a: 1\n---\nb: 2\n", 3, "second document"),
            ("a: &x [*x]\n", 1, "contains it"),
            ("? [a, b]\n: 1\n", 1, "plain word"),
            ("<<: 1\n", 1, "<<"),
            ("a: *nowhere\n", 1, ""),
        ];
        for (text, line, part) in table {
            let error = parse(text).expect_err(text);
            assert!(error.line == line && error.message.contains(part), "{text:?}: {error:?}");
        }
    }

    #[test]
    fn a_bomb_of_aliases_is_refused() {
        let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for level in 1..12 {
            let below = format!("*a{},", level - 1).repeat(10);
            text += &format!("a{level}: &a{level} [{}]\n", below.trim_end_matches(','));
        }
        assert!(parse(&text).expect_err("a bomb").message.contains("too many"));
        assert!(parse(&"[".repeat(100_000)).is_err());
    }
}
