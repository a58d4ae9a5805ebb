//! A job that has the host keep things for it and lets none of them go: `hoard KIND COUNT`. Prints how many it got, if it lives to
//! tell.
//!
//! | kind | what each is |
//! | --- | --- |
//! | `pollables` | a timer that has not ended |
//! | `fields` | a map of header fields with a value of 64 KiB |
//! | `growing-fields` | another value of 1 KiB in a map of its own each hundred |
//! | `clones` | a copy of a map of header fields, changed |
//! | `requests` | a request with a path of 32 KiB |
//! | `bodies` | a response whose body is written to until the host takes no more, and read by nobody |
//! | `sockets` | a TCP socket |
//! | `listings` | a listing of `/` |
//! | `calls` | nothing: a call that keeps nothing |
//! | `lines` | a line of 1,000 characters on standard output |

use wasip2::clocks::monotonic_clock;
use wasip2::filesystem::preopens;
use wasip2::http::types::{Fields, OutgoingRequest, OutgoingResponse};
use wasip2::sockets::network::IpAddressFamily;
use wasip2::sockets::tcp_create_socket::create_tcp_socket;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let kind = arguments.next().unwrap_or_default();
    let count: usize = arguments.next().and_then(|count| count.parse().ok()).unwrap_or(0);
    let got = match kind.as_str() {
        "pollables" => hoard(count, || Some(monotonic_clock::subscribe_duration(1 << 60))),
        "fields" => {
            let value = vec![b'x'; 64 * 1024];
            hoard(count, || Fields::from_list(&[("kept".to_owned(), value.clone())]).ok())
        }
        "growing-fields" => {
            let mut maps = Vec::new();
            (0..count)
                .take_while(|index| {
                    if index % 100 == 0 {
                        maps.push(Fields::new());
                    }
                    maps.last().is_some_and(|map| map.append("kept", &[b'x'; 1024]).is_ok())
                })
                .count()
        }
        "clones" => {
            let Ok(fields) = Fields::from_list(&[("kept".to_owned(), vec![b'x'; 64 * 1024])]) else { return };
            hoard(count, || {
                let copy = fields.clone();
                copy.append("more", b"x").ok()?;
                Some(copy)
            })
        }
        "requests" => {
            let path = format!("/{}", "x".repeat(32 * 1024));
            hoard(count, || {
                let request = OutgoingRequest::new(Fields::new());
                request.set_path_with_query(Some(&path)).ok()?;
                Some(request)
            })
        }
        "bodies" => hoard(count, || {
            let response = OutgoingResponse::new(Fields::new());
            let body = response.body().ok()?;
            let stream = body.write().ok()?;
            loop {
                let room = usize::try_from(stream.check_write().ok()?).unwrap_or(usize::MAX);
                if room == 0 {
                    break;
                }
                stream.write(&vec![b'x'; room.min(1 << 20)]).ok()?;
            }
            Some((stream, body, response))
        }),
        "sockets" => hoard(count, || create_tcp_socket(IpAddressFamily::Ipv4).ok()),
        "listings" => {
            let root = preopens::get_directories().into_iter().next();
            hoard(count, || root.as_ref()?.0.read_directory().ok())
        }
        "calls" => (0..count).map(|_| monotonic_clock::now()).filter(|now| *now > 0).count(),
        "lines" => {
            let line = "x".repeat(1000);
            (0..count).inspect(|_| println!("{line}")).count()
        }
        _ => 0,
    };
    println!("got {got}");
}

/// Makes things until there are enough or no more is given; keeps them until all are counted.
fn hoard<T>(count: usize, mut make: impl FnMut() -> Option<T>) -> usize {
    (0..count).map_while(|_| make()).collect::<Vec<_>>().len()
}
