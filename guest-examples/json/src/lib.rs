//! A handler that reads and writes JSON: sums orders up by customer.
//!
//! `POST` it an array of orders, or `GET` it for the sums of a hundred made-up ones. It is what a small service does all day, and one of the
//! programs that the cost of metering is measured with.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};
use wasip2::http::types::{
    Fields, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use wasip2::io::streams::StreamError;

/// The longest body that is read.
const MAX_BODY: usize = 1 << 20;

#[derive(Deserialize)]
struct Order {
    customer: String,
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    name: String,
    quantity: u32,
    cents: u64,
}

#[derive(Default, Serialize)]
struct Sum {
    orders: u32,
    items: u32,
    cents: u64,
    names: Vec<String>,
}

struct Json;

impl wasip2::exports::http::incoming_handler::Guest for Json {
    fn handle(request: IncomingRequest, answer: ResponseOutparam) {
        let body = match request.method() {
            Method::Post => read(&request),
            _ => Ok(made_up()),
        };
        let (status, text) = match body.and_then(|body| sums(&body)) {
            Ok(text) => (200, text),
            Err(why) => (400, serde_json::json!({ "error": why }).to_string()),
        };
        respond(status, &text, answer);
    }
}

fn sums(body: &str) -> Result<String, String> {
    let orders: Vec<Order> = serde_json::from_str(body).map_err(|error| error.to_string())?;
    let mut sums = BTreeMap::<String, Sum>::new();
    for order in orders {
        let sum = sums.entry(order.customer).or_default();
        sum.orders += 1;
        for item in order.items {
            sum.items += item.quantity;
            sum.cents += item.cents * u64::from(item.quantity);
            if !sum.names.contains(&item.name) {
                sum.names.push(item.name);
            }
        }
    }
    serde_json::to_string(&sums).map_err(|error| error.to_string())
}

/// A hundred orders of ten customers.
fn made_up() -> String {
    let mut text = "[".to_owned();
    for order in 0..100 {
        let comma = if order == 0 { "" } else { "," };
        // Writing to a String cannot fail.
        _ = write!(
            text,
            r#"{comma}{{"customer":"customer-{}","items":[{{"name":"tea","quantity":{},"cents":450}},{{"name":"cup \u2615","quantity":1,"cents":{}}}]}}"#,
            order % 10,
            order % 3 + 1,
            900 + order,
        );
    }
    text + "]"
}

fn read(request: &IncomingRequest) -> Result<String, String> {
    let body = request.consume().map_err(|()| "the body is not there to take")?;
    let stream = body.stream().map_err(|()| "the body's stream is not there to take")?;
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(64 * 1024) {
            Ok(part) => bytes.extend(part),
            Err(StreamError::Closed) => break,
            Err(error) => return Err(error.to_string()),
        }
        if bytes.len() > MAX_BODY {
            return Err(format!("the body is longer than {MAX_BODY} bytes"));
        }
    }
    String::from_utf8(bytes).map_err(|error| error.to_string())
}

fn respond(status: u16, text: &str, answer: ResponseOutparam) {
    let headers = Fields::new();
    // The names and values are constants that HTTP allows: setting them cannot fail.
    _ = headers.append("content-type", b"application/json");
    _ = headers.append("content-length", text.len().to_string().as_bytes());
    let response = OutgoingResponse::new(headers);
    // A status between 100 and 999 cannot be refused.
    _ = response.set_status_code(status);
    let body = response.body().expect("the body of a new response is there to take, once");
    ResponseOutparam::set(answer, Ok(response));
    let stream = body.write().expect("the stream of a new body is there to take, once");
    for part in text.as_bytes().chunks(4096) {
        // Fails only when the client went away, and then there is nobody left to tell.
        _ = stream.blocking_write_and_flush(part);
    }
    drop(stream);
    _ = OutgoingBody::finish(body, None);
}

wasip2::http::proxy::export!(Json);
