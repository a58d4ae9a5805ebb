//! Functions of `wasi:http/types` that have the host keep what a guest gives it: charged before it is kept.
//!
//! The rest of the interface is wasmtime's. What these make, wasmtime's own functions pass on and let go;
//! [`KeptMemory`](crate::memory::kept::KeptMemory) finds out by looking.

use crate::memory::kept::{BODY, MAX_NAME, MAX_TEXT, size_of_fields, size_of_pair, size_of_pairs};
use crate::state::ComponentState;
use wasmtime::component::{Linker, Resource};
use wasmtime::{Result, StoreContextMut};
use wasmtime_wasi_http::p2::types as p2;
use wasmtime_wasi_http::{FieldMap, WasiHttpView};

/// The names that wasmtime 48 has the interfaces under. `runtime/tests/memory` fails where these are others.
const TYPES_P2: &str = "wasi:http/types@0.2.12";
const TYPES_P3: &str = "wasi:http/types@0.3.0";

type Store<'a> = StoreContextMut<'a, ComponentState>;
type Pairs = Vec<(String, Vec<u8>)>;

/// Defines the functions that both versions have, with the types of one.
macro_rules! define {
    ($linker:expr, $interface:expr, $request:literal, $types:path, $request_type:ty, $host_request:ident) => {{
        use $types as types;
        use types::{HeaderError, HostFields, Method, Scheme, $host_request as HostRequest};

        type Fields = Resource<FieldMap>;
        type Request = Resource<$request_type>;

        let mut interface = $linker.instance($interface)?;
        interface.func_wrap("[static]fields.from-list", |mut store: Store<'_>, (pairs,): (Pairs,)| {
            store.data_mut().keep(size_of_pairs(&pairs))?;
            let made = HostFields::from_list(&mut store.data_mut().http(), pairs);
            let made: Result<Fields, HeaderError> = match made {
                Ok(fields) => Ok(fields),
                Err(error) => Err(error.downcast()?),
            };
            Ok((made,))
        })?;
        interface.func_wrap(
            "[method]fields.set",
            |mut store: Store<'_>, (fields, name, values): (Fields, String, Vec<Vec<u8>>)| {
                store.data_mut().keep(values.iter().map(|value| size_of_pair(&name, value)).sum())?;
                let set = HostFields::set(&mut store.data_mut().http(), fields, name, values);
                let set: Result<(), HeaderError> = match set {
                    Ok(()) => Ok(()),
                    Err(error) => Err(error.downcast()?),
                };
                Ok((set,))
            },
        )?;
        interface.func_wrap(
            "[method]fields.append",
            |mut store: Store<'_>, (fields, name, value): (Fields, String, Vec<u8>)| {
                store.data_mut().keep(size_of_pair(&name, &value))?;
                let appended = HostFields::append(&mut store.data_mut().http(), fields, name, value);
                let appended: Result<(), HeaderError> = match appended {
                    Ok(()) => Ok(()),
                    Err(error) => Err(error.downcast()?),
                };
                Ok((appended,))
            },
        )?;
        interface.func_wrap("[method]fields.clone", |mut store: Store<'_>, (fields,): (Fields,)| {
            // It shares its content until it changes; that the first change copies it all is charged here.
            let size = store.data_mut().http().table.get(&fields).map_or(0, |fields| size_of_fields(fields));
            store.data_mut().keep(size)?;
            Ok((HostFields::clone(&mut store.data_mut().http(), fields)?,))
        })?;
        interface.func_wrap(
            concat!("[method]", $request, ".set-method"),
            |mut store: Store<'_>, (request, method): (Request, Method)| {
                if matches!(&method, Method::Other(name) if name.len() > MAX_NAME) {
                    return Ok((Err(()),));
                }
                Ok((HostRequest::set_method(&mut store.data_mut().http(), request, method)?,))
            },
        )?;
        interface.func_wrap(
            concat!("[method]", $request, ".set-scheme"),
            |mut store: Store<'_>, (request, scheme): (Request, Option<Scheme>)| {
                if matches!(&scheme, Some(Scheme::Other(name)) if name.len() > MAX_NAME) {
                    return Ok((Err(()),));
                }
                Ok((HostRequest::set_scheme(&mut store.data_mut().http(), request, scheme)?,))
            },
        )?;
        interface.func_wrap(
            concat!("[method]", $request, ".set-authority"),
            |mut store: Store<'_>, (request, text): (Request, Option<String>)| {
                let length = text.as_ref().map_or(0, String::len);
                if length > MAX_TEXT {
                    return Ok((Err(()),));
                }
                store.data_mut().keep(length as u64)?;
                Ok((HostRequest::set_authority(&mut store.data_mut().http(), request, text)?,))
            },
        )?;
        interface.func_wrap(
            concat!("[method]", $request, ".set-path-with-query"),
            |mut store: Store<'_>, (request, text): (Request, Option<String>)| {
                let length = text.as_ref().map_or(0, String::len);
                if length > MAX_TEXT {
                    return Ok((Err(()),));
                }
                store.data_mut().keep(length as u64)?;
                Ok((HostRequest::set_path_with_query(&mut store.data_mut().http(), request, text)?,))
            },
        )?;
    }};
}

/// Adds the functions of WASI 0.2. The linker must have wasmtime's and allow shadowing.
pub(crate) fn add_preview2_to_linker(linker: &mut Linker<ComponentState>) -> Result<()> {
    define!(
        linker,
        TYPES_P2,
        "outgoing-request",
        wasmtime_wasi_http::p2::bindings::http::types,
        wasmtime_wasi_http::p2::types::HostOutgoingRequest,
        HostOutgoingRequest
    );
    bodies(linker)
}

/// The same for WASI 0.3.
pub(crate) fn add_preview3_to_linker(linker: &mut Linker<ComponentState>) -> Result<()> {
    define!(
        linker,
        TYPES_P3,
        "request",
        wasmtime_wasi_http::p3::bindings::http::types,
        wasmtime_wasi_http::p3::Request,
        HostRequest
    );
    Ok(())
}

/// Preview 2's bodies keep what is written to them until it is read. (Preview 3's are streams, which keep nothing.)
fn bodies(linker: &mut Linker<ComponentState>) -> Result<()> {
    use wasmtime_wasi_http::p2::bindings::http::types::{HostOutgoingRequest, HostOutgoingResponse};
    let mut interface = linker.instance(TYPES_P2)?;
    interface.func_wrap(
        "[method]outgoing-response.body",
        |mut store: Store<'_>, (response,): (Resource<p2::HostOutgoingResponse>,)| {
            store.data_mut().keep(BODY)?;
            Ok((HostOutgoingResponse::body(&mut store.data_mut().http(), response)?,))
        },
    )?;
    interface.func_wrap(
        "[method]outgoing-request.body",
        |mut store: Store<'_>, (request,): (Resource<p2::HostOutgoingRequest>,)| {
            store.data_mut().keep(BODY)?;
            Ok((HostOutgoingRequest::body(&mut store.data_mut().http(), request)?,))
        },
    )
}
