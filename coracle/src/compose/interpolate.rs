//! `$NAME`, `${NAME}` and their forms with defaults, as the Compose specification has them.

/// Looks a variable up; `None` when it is not set.
pub type Variables<'a> = &'a (dyn Fn(&str) -> Option<String> + 'a);

/// Replaces every variable in `text`; `$$` is a dollar sign. A variable that is not set is empty, as in a shell.
///
/// # Errors
/// One sentence: an unfinished or unknown form, or a `${NAME:?message}` whose variable is not set.
pub(super) fn interpolate(text: &str, variables: Variables<'_>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let end = closing_brace(after).ok_or_else(|| format!("${{ is not closed in {text:?}"))?;
            out.push_str(&braced(&after[..end], variables)?);
            rest = &after[end + 1..];
        } else {
            let name = name_of(rest);
            if name.is_empty() {
                return Err(format!("a lone $ in {text:?}; write $$ for a dollar sign"));
            }
            out.push_str(&variables(name).unwrap_or_default());
            rest = &rest[name.len()..];
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// The inside of `${...}`: a name, and perhaps an operator with a word that may itself hold variables.
fn braced(inside: &str, variables: Variables<'_>) -> Result<String, String> {
    let name = name_of(inside);
    let after = &inside[name.len()..];
    let (operator, word) = after.split_at(after.find(['-', '?', '+']).map_or(0, |at| at + 1));
    let known = matches!(operator, "-" | ":-" | "?" | ":?" | "+" | ":+") || after.is_empty();
    if name.is_empty() || !known {
        return Err(format!("${{{inside}}} is no variable"));
    }
    let value = variables(name);
    // With a colon, an empty value counts as none.
    let present = value.filter(|value| !(operator.starts_with(':') && value.is_empty()));
    match (operator.chars().last(), present) {
        (Some('+'), Some(_)) | (Some('-'), None) => interpolate(word, variables),
        (Some('+'), None) => Ok(String::new()),
        (Some('?'), None) => {
            let why =
                if word.is_empty() { "it is required".to_owned() } else { interpolate(word, variables)? };
            Err(format!("the environment variable {name} is not set: {why}"))
        }
        (_, value) => Ok(value.unwrap_or_default()),
    }
}

fn name_of(text: &str) -> &str {
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    if starts { &text[..end] } else { "" }
}

fn closing_brace(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => open += 1,
            '}' if open == 0 => return Some(at),
            '}' => open -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(name: &str) -> Option<String> {
        match name {
            "SET" => Some("value".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn the_forms_of_the_specification() {
        let table = [
            ("plain", "plain"),
            ("$SET and ${SET}", "value and value"),
            ("$$SET $${SET}", "$SET ${SET}"),
            ("[${NONE}]", "[]"),
            ("${NONE:-a} ${NONE-a} ${EMPTY:-a} ${EMPTY-a} ${SET:-a}", "a a a  value"),
            ("${SET:+a} ${EMPTY:+a}|${EMPTY+a} ${NONE+a}|", "a |a |"),
            ("${NONE:-${SET}}", "value"),
            ("${NONE:-http://a:1/b-c?d}", "http://a:1/b-c?d"),
            ("${SET:?needed}", "value"),
            ("é$SET€", "évalue€"),
        ];
        for (text, expected) in table {
            assert_eq!(interpolate(text, &variables).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_wrong_form_is_refused() {
        for text in [
            "${SET",
            "$",
            "$1",
            "${}",
            "${SET.x}",
            "${SET:}",
            "${NONE:?needed}",
            "${EMPTY:?needed}",
            "${NONE?}",
        ] {
            assert!(interpolate(text, &variables).is_err(), "{text}");
        }
    }
}
