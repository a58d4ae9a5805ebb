//! Calls of curl and wget that say no more than "get this path of yourself".
//!
//! Nearly all health checks of web services are of that form. There is neither program in an image, but what they would find out can be found
//! out without them.

use http::Uri;

/// A URL of the container itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalUrl {
    /// Where the URL names one.
    pub port: Option<u16>,
    /// With the query; `/` where there is none.
    pub path: String,
}

impl LocalUrl {
    /// Reads `http://localhost:8080/path`; the scheme may be missing, as curl allows.
    pub fn parse(url: &str) -> Result<Self, String> {
        let uri = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let uri: Uri = uri.parse().map_err(|_| format!("{url:?} is not a URL"))?;
        if uri.scheme_str() != Some("http") {
            return Err(format!("only http is supported, not {url:?}"));
        }
        let host = uri.host().unwrap_or_default();
        if !is_local(host) {
            return Err(format!("a health check asks the container itself, at localhost, not {host:?}"));
        }
        // What follows the host is a port or nothing.
        if uri.port_u16().is_none() && uri.authority().is_some_and(|authority| authority.as_str() != host) {
            return Err(format!("a port from 0 to 65535 is expected in {url:?}"));
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self { port: uri.port_u16(), path: path.to_owned() })
    }
}

/// The port of `localhost:8080`.
pub(super) fn local_port(address: &str) -> Result<u16, String> {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    if !is_local(host) {
        return Err(format!("a health check asks the container itself, at localhost, not {host:?}"));
    }
    let port = port.parse().ok().filter(|port| *port > 0);
    port.ok_or_else(|| format!("a port from 1 to 65535 is expected in {address:?}"))
}

fn is_local(host: &str) -> bool {
    ["localhost", "127.0.0.1", "[::1]", "0.0.0.0"].contains(&host)
}

/// The words of a shell's command line, if no shell is needed to run it but for a last `|| exit 1`.
pub fn words_of(line: &str) -> Option<Vec<String>> {
    let line = line.trim();
    let line =
        ["|| exit 1", "|| false", "||exit 1"].iter().find_map(|tail| line.strip_suffix(tail)).unwrap_or(line);
    let plain = !line.contains(['|', '&', ';', '$', '`', '<', '>', '(', ')', '\n']);
    shlex::split(line).filter(|_| plain)
}

/// Whether a program's name is curl's or wget's.
pub(super) fn is_http_client(program: &str) -> bool {
    matches!(program.rsplit('/').next(), Some("curl" | "wget"))
}

/// The URL that a call of curl or wget gets, if getting it and seeing whether that worked is all it does.
pub fn url_of<'a>(program: &[&'a str]) -> Option<&'a str> {
    let (name, arguments) = program.split_first()?;
    let (flags, valued): (&[&str], &[&str]) = match name.rsplit('/').next()? {
        "curl" => (
            &[
                "-f",
                "--fail",
                "-s",
                "--silent",
                "-S",
                "--show-error",
                "-L",
                "--location",
                "-I",
                "--head",
                "-k",
                "--insecure",
            ],
            &["-o", "--output", "-m", "--max-time", "--connect-timeout", "--retry"],
        ),
        "wget" => (
            &["-q", "--quiet", "-nv", "--no-verbose", "--spider", "-S"],
            &["-O", "--output-document", "-T", "--timeout", "-t", "--tries"],
        ),
        _ => return None,
    };
    let (mut url, mut arguments) = (None, arguments.iter());
    while let Some(&argument) = arguments.next() {
        let long = argument.split_once('=').map_or(argument, |(name, _)| name);
        if valued.contains(&argument) {
            arguments.next()?;
        } else if flags.contains(&argument) || valued.contains(&long) || attached(argument, flags, valued) {
        } else if argument.starts_with('-') || url.replace(argument).is_some() {
            return None;
        }
    }
    url
}

/// Short options written together, such as `-fsS`, `-qO-` or `-T5`.
fn attached(argument: &str, flags: &[&str], valued: &[&str]) -> bool {
    let Some(letters) =
        argument.strip_prefix('-').filter(|letters| !letters.starts_with('-') && !letters.is_empty())
    else {
        return false;
    };
    for (at, letter) in letters.char_indices() {
        let option = format!("-{letter}");
        if valued.contains(&option.as_str()) {
            // The rest of the word is its value.
            return letters.len() > at + letter.len_utf8();
        }
        if !flags.contains(&option.as_str()) {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_of_curl_or_wget_is_its_url() {
        let table: [(&[&str], Option<&str>); 12] = [
            (&["curl", "-f", "http://localhost/"], Some("http://localhost/")),
            (&["/usr/bin/curl", "-fsS", "-o", "/dev/null", "http://localhost/"], Some("http://localhost/")),
            (&["curl", "--fail", "--max-time=3", "localhost:80"], Some("localhost:80")),
            (&["curl", "-fm3", "localhost:80"], Some("localhost:80")),
            (&["wget", "-q", "--spider", "http://localhost/"], Some("http://localhost/")),
            (&["wget", "-qO-", "http://localhost/"], Some("http://localhost/")),
            (
                &["wget", "--no-verbose", "--tries=1", "--spider", "http://localhost/"],
                Some("http://localhost/"),
            ),
            (&["curl", "-X", "POST", "http://localhost/"], None),
            (&["curl", "http://localhost/", "http://localhost/b"], None),
            (&["curl"], None),
            (&["pg_isready"], None),
            (&[], None),
        ];
        for (program, url) in table {
            assert_eq!(url_of(program), url, "{program:?}");
        }
    }

    #[test]
    fn a_url_is_of_the_container_itself() {
        let parsed = |url| LocalUrl::parse(url).map(|url| (url.port, url.path));
        assert_eq!(parsed("http://localhost:8080/up?a=1"), Ok((Some(8080), "/up?a=1".into())));
        assert_eq!(parsed("127.0.0.1"), Ok((None, "/".into())));
        for url in
            ["https://localhost/", "http://example.com/", "http://localhost:99999/", "http://", "/path"]
        {
            assert!(parsed(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_command_line_that_needs_a_shell_has_no_words() {
        assert_eq!(words_of("curl 'a b' || exit 1").unwrap(), ["curl", "a b"]);
        for line in ["a | b", "a && b", "a; b", "$A", "`a`", "a > b", "(a)", "'a"] {
            assert_eq!(words_of(line), None, "{line}");
        }
    }
}
