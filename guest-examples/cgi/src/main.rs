//! A CGI program (RFC 3875) in preview 1, which has no sockets: it runs once for each request, finds the request in its environment
//! and its body on standard input, and answers on standard output.
//!
//! | path | the answer |
//! | --- | --- |
//! | `/` | `hello from cgi` |
//! | `/health` | `ok` |
//! | `/env` | the environment, sorted, a line each |
//! | `/echo` | the request's body, as it comes |
//! | `/status?404` | that status |
//! | `/redirect` | 302 to `/` |
//! | `/stream?100` | so many pieces of 1,000 bytes |
//! | `/silent`, `/no-header`, `/long-header` | nothing, a body without a header, a header without end: no answer |
//! | `/exit?3`, `/trap`, `/trap-mid-body`, `/spin`, `/allocate` | ends badly |

use std::io::{self, Write as _};

fn main() -> io::Result<()> {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let query = variable("QUERY_STRING");
    let number = || query.parse().unwrap_or(1);
    eprintln!("{} {}", variable("REQUEST_METHOD"), variable("PATH_INFO"));
    let mut out = io::stdout();
    match variable("PATH_INFO").as_str() {
        "/" => write!(out, "Content-Type: text/plain\n\nhello from cgi\n"),
        "/health" => write!(out, "Content-Type: text/plain\n\nok\n"),
        "/env" => {
            let mut variables: Vec<_> = std::env::vars().collect();
            variables.sort();
            write!(out, "Content-Type: text/plain\n\n")?;
            variables.iter().try_for_each(|(name, value)| writeln!(out, "{name}={value}"))
        }
        "/echo" => {
            write!(out, "Content-Type: application/octet-stream\r\n\r\n")?;
            io::copy(&mut io::stdin(), &mut out).map(drop)
        }
        "/status" => write!(out, "Status: {query}\nContent-Type: text/plain\n\nas asked\n"),
        "/redirect" => write!(out, "Location: /\n\n"),
        "/stream" => {
            write!(out, "Content-Type: text/plain\n\n")?;
            (0..number()).try_for_each(|_| out.write_all(&[b'x'; 1000]))
        }
        "/silent" => Ok(()),
        "/no-header" => write!(out, "hello\n\n"),
        "/long-header" => loop {
            writeln!(out, "X-More: {}", "x".repeat(1000))?;
        },
        "/exit" => std::process::exit(number()),
        "/trap" => std::process::abort(),
        "/trap-mid-body" => {
            write!(out, "Content-Type: text/plain\n\nhalf")?;
            out.flush()?;
            std::process::abort()
        }
        "/spin" => loop {
            std::hint::spin_loop();
        },
        "/allocate" => {
            let mut kept = Vec::new();
            loop {
                kept.push(vec![1u8; 1 << 20]);
            }
        }
        _ => write!(out, "Status: 404 Not Found\nContent-Type: text/plain\n\nno such path\n"),
    }
}
